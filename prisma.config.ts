import { defineConfig } from 'prisma/config';

/** The database address is only needed by `prisma migrate`; generating the client needs none. */
export default defineConfig({
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
  ...(process.env['DATABASE_URL'] ? { datasource: { url: process.env['DATABASE_URL'] } } : {}),
});

import { randomUUID } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { openDatabase, type Database } from '../../prisma/client.ts';
import { migrate } from '../../prisma/migrate.ts';
import { freePorts } from '../../workers/embedded/ports.ts';
import { startPostgres } from '../../workers/embedded/postgres.ts';
import { startTemporal } from '../../workers/embedded/temporal.ts';

/** The real servers that all tests of one run share; each suite has a database of its own. */
interface Servers {
  readonly directory: string;
  readonly databaseUrl: string;
  readonly temporalAddress: string;
  readonly pids: Readonly<Record<'postgresql' | 'temporal', number>>;
  stop(): Promise<void>;
}

let servers: Promise<Servers> | undefined;

/** Starts PostgreSQL and Temporal with the first test that needs them. */
export function testServers(): Promise<Servers> {
  servers ??= start();
  return servers;
}

async function start(): Promise<Servers> {
  const directory = await mkdtemp(join(tmpdir(), 'plx-test-'));
  // Private by default; PostgreSQL's account must be able to pass through.
  await chmod(directory, 0o755);
  const [postgres, temporal] = await Promise.all([
    startPostgres({
      dataDir: join(directory, 'postgres'),
      port: await freePort(),
      logFile: join(directory, 'postgresql.log'),
    }),
    startTemporal({
      cliPath: process.env['TEMPORAL_CLI_PATH'] ?? '',
      dbFile: join(directory, 'temporal.db'),
      port: await freePort(),
      uiPort: await freePort(),
      logFile: join(directory, 'temporal.log'),
    }),
  ]);
  return {
    directory,
    databaseUrl: postgres.url,
    temporalAddress: temporal.address,
    pids: { postgresql: postgres.pid, temporal: temporal.pid },
    async stop() {
      await temporal.stop();
      await postgres.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Mocha's root hooks: the servers end with the run. */
export const mochaHooks = {
  async afterAll() {
    await (await servers)?.stop();
  },
};

export interface TestDatabase {
  readonly url: string;
  readonly database: Database;
  close(): Promise<void>;
}

/** A new database without tables. @returns its URL. */
export async function emptyDatabase(): Promise<string> {
  const { databaseUrl } = await testServers();
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  const admin = new Client({ connectionString: databaseUrl });
  await admin.connect();
  await admin.query(`CREATE DATABASE ${name}`);
  await admin.end();
  const url = new URL(databaseUrl);
  url.pathname = `/${name}`;
  return url.href;
}

/** A migrated database that nobody else uses. */
export async function freshDatabase(): Promise<TestDatabase> {
  const url = await emptyDatabase();
  await migrate(url);
  const database = openDatabase(url, 6);
  return { url, database, close: () => database.$disconnect() };
}

/** A TCP port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const [port = 0] = await freePorts(1);
  return port;
}

import { createHash } from 'node:crypto';
import pino from 'pino';
import { generateX25519Key } from '../../crypto/keys.ts';
import { createGateway } from '../../gateway/server.ts';
import type { Database } from '../../prisma/client.ts';
import { seedAdminKey } from '../../workers/embedded/seed.ts';
import { API_KEY, seedInstant } from './seeded.ts';
import { freePort, freshDatabase } from './servers.ts';

export const ADMIN_KEY = 'plx-admin-key-0123456789';
export const OTHER_KEY = 'plx-other-key-00000000';
export const OTHER_ACCOUNT = 'acct_other';

/** A gateway without a coordinator, over a database of its own: for what needs nothing else. */
export interface LoneGateway {
  readonly database: Database;
  readonly url: string;
  /** What it has logged. */
  readonly logged: readonly Readonly<Record<string, unknown>>[];
  call(method: 'GET' | 'POST', path: string, options?: CallOptions): Promise<LoneAnswer>;
  stop(): Promise<void>;
}

interface CallOptions {
  readonly key?: string | null;
  readonly body?: object;
}

export interface LoneAnswer {
  readonly status: number;
  // What is in it is for each test to say.
  readonly body: any;
  readonly code: string | undefined;
}

export async function startLoneGateway(): Promise<LoneGateway> {
  const { database, close } = await freshDatabase();
  await seedInstant(database);
  await seedAdminKey(database, ADMIN_KEY);
  const keyHash = createHash('sha256').update(OTHER_KEY).digest('hex');
  await database.account.create({
    data: { id: OTHER_ACCOUNT, name: 'Other', apiKeys: { create: { keyHash } } },
  });
  const logged: Record<string, unknown>[] = [];
  const write = (line: string) => void logged.push(JSON.parse(line) as Record<string, unknown>);
  const key = await generateX25519Key();
  const app = createGateway({
    database,
    coordinatorUrl: `http://127.0.0.1:${await freePort()}`,
    intakeToken: 'unused-intake-token',
    requesterRing: [key],
    intakeKey: async () => key.publicJwk,
    temporalUiUrl: null,
    temporalNamespace: 'default',
    log: pino({ level: 'info' }, { write }),
  });
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  return {
    database,
    url,
    logged,
    async call(method, path, { key: presented = API_KEY, body } = {}) {
      const response = await fetch(`${url}${path}`, {
        method,
        headers: {
          ...(presented === null ? {} : { authorization: `Bearer ${presented}` }),
          ...(body ? { 'content-type': 'application/json' } : {}),
        },
        ...(body ? { body: JSON.stringify(body) } : {}),
      });
      const answer = (await response.json()) as { error?: { code: string } };
      return { status: response.status, body: answer, code: answer.error?.code };
    },
    async stop() {
      await app.close();
      await close();
    },
  };
}

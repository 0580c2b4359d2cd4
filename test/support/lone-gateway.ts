import { createHash } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import pino from 'pino';
import { generateX25519Key, type Ring, type X25519Key } from '../../crypto/keys.ts';
import type { GatewayDependencies } from '../../gateway/context.ts';
import { Readers } from '../../gateway/disconnect.ts';
import { GATEWAY_LIMITS, type GatewayLimits } from '../../gateway/limits.ts';
import { GatewayMetrics } from '../../gateway/metrics.ts';
import { createGateway } from '../../gateway/server.ts';
import type { Database } from '../../prisma/client.ts';
import { signInTerms } from '../../protocol/sign-in.ts';
import { CHAIN_ID } from '../../workers/embedded/operators.ts';
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
  readonly app: FastifyInstance;
  readonly ring: Ring<X25519Key>;
  /** What it has logged. */
  readonly logged: readonly Readonly<Record<string, unknown>>[];
  call(
    method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
    path: string,
    options?: CallOptions,
  ): Promise<LoneAnswer>;
  /** One more gateway over the same database: its URL. */
  another(differs?: Partial<GatewayDependencies>): Promise<string>;
  stop(): Promise<void>;
}

interface CallOptions {
  readonly key?: string | null;
  readonly body?: object;
}

export interface LoneAnswer {
  readonly status: number;
  readonly body: Body;
  readonly code: string | undefined;
}

interface Coded {
  readonly code: string;
  readonly message: string;
}

/** Fields of the objects that tests look at; each object has some of them. */
interface Item {
  readonly object: string;
  readonly key: string;
  readonly percent: number;
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly why: Coded | null;
  readonly flags: Readonly<Record<string, number>>;
  readonly trust: readonly object[];
  readonly events: readonly (Coded & {
    readonly unit: string;
    readonly dispatch: number;
    readonly created_at: string;
  })[];
  readonly reviews: readonly {
    readonly decision: string;
    readonly why: Coded | null;
    readonly reviewer: string | null;
    readonly reason: string | null;
  }[];
  readonly votes: readonly { readonly unit: string; side: string; outcome: string }[];
  readonly epoch: number;
  readonly policy: string;
  readonly secret: string | null;
  readonly secret_hash: string;
  readonly unit_id: string;
  readonly dispatch: number;
  readonly rate_ppm: number;
  readonly is_sampled: boolean;
  readonly workload_class: string;
  readonly outcome: string | null;
  readonly delivery: string;
  readonly token?: string;
  readonly uses_left: number;
  readonly expires_at: string;
  readonly charged_wei: string;
  readonly refunded_wei: string;
  readonly refund: Coded | null;
  readonly verification: {
    readonly sampled: boolean | null;
    readonly outcome: string | null;
    readonly rate: number | null;
    readonly epoch: number | null;
    readonly votes: readonly { readonly side: string }[];
    readonly message: string;
  };
}

interface Body extends Item {
  readonly data: readonly Item[];
  readonly has_more: boolean;
  readonly last_id: string;
  readonly scope: string;
  readonly next: string | null;
  /** Of a refusal, or of a request that failed. */
  readonly error?: Coded & { readonly param: string | null; readonly type: string };
}

/**
 * @param limits that differ from the usual ones.
 * @param coordinatorUrl of what stands in for a coordinator; by default nobody is there.
 */
export async function startLoneGateway(
  limits: Partial<GatewayLimits> = {},
  coordinatorUrl?: string,
): Promise<LoneGateway> {
  const fresh = await freshDatabase();
  const { database } = fresh;
  await seedInstant(database);
  await seedAdminKey(database, ADMIN_KEY);
  const keyHash = createHash('sha256').update(OTHER_KEY).digest('hex');
  await database.account.create({
    data: { id: OTHER_ACCOUNT, name: 'Other', apiKeys: { create: { keyHash } } },
  });
  const logged: Record<string, unknown>[] = [];
  const write = (line: string) => void logged.push(JSON.parse(line) as Record<string, unknown>);
  const key = await generateX25519Key();
  const log = pino({ level: 'info' }, { write });
  const apps: FastifyInstance[] = [];
  const start = async (differs: Partial<GatewayDependencies> = {}) => {
    const port = await freePort();
    const coordinator = {
      coordinatorUrl: coordinatorUrl ?? `http://127.0.0.1:${await freePort()}`,
      intakeToken: 'unused-intake-token',
    };
    const metrics = new GatewayMetrics();
    const dependencies: GatewayDependencies = {
      ...coordinator,
      readers: new Readers({ ...coordinator, database }, log, metrics),
      metrics,
      database,
      requesterRing: [key],
      intakeKey: async () => key.publicJwk,
      temporalUiUrl: null,
      temporalNamespace: 'default',
      signIn: signInTerms(`http://127.0.0.1:${port}`, CHAIN_ID),
      log,
      ...differs,
    };
    const app = createGateway(dependencies, { ...GATEWAY_LIMITS, ...limits });
    apps.push(app);
    return app.listen({ host: '127.0.0.1', port });
  };
  const url = await start();
  return {
    database,
    url,
    ring: [key],
    logged,
    get app() {
      return apps[0] as FastifyInstance;
    },
    another: start,
    async call(method, path, { key: presented = API_KEY, body } = {}) {
      const response = await fetch(`${url}${path}`, {
        method,
        headers: {
          ...(presented === null ? {} : { authorization: `Bearer ${presented}` }),
          ...(body ? { 'content-type': 'application/json' } : {}),
        },
        ...(body ? { body: JSON.stringify(body) } : {}),
      });
      const answer = (await response.json()) as Body;
      return { status: response.status, body: answer, code: answer.error?.code };
    },
    async stop() {
      for (const app of apps) await app.close();
      await fresh.close();
    },
  };
}

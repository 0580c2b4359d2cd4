import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { commitPolicy, UNCHECKED } from '../../bench/commit-policy.ts';
import type { SamplingPolicy } from '../../protocol/sampling.ts';
import { spawnRole, type Role } from '../../workers/embedded/process.ts';
import type { Database } from '../../prisma/client.ts';
import { shortId, type UnitId } from '../../protocol/ids.ts';
import { EDGE_TOKEN, startTestEdge, testCaFile, type EdgePlace } from './network-edge.ts';
import { API_KEY, seedInstant } from './seeded.ts';
import { freePort, freshDatabase, testServers } from './servers.ts';

/** A coordinator and a gateway as processes, over a database of their own. */
export interface Coordination {
  readonly database: Database;
  readonly databaseUrl: string;
  readonly gatewayUrl: string;
  /** Of all gateways: one for each coordinator. */
  readonly gatewayUrls: readonly string[];
  readonly coordinatorUrl: string;
  readonly temporalAddress: string;
  /** What Prometheus reads of the first ones. */
  metrics(role: 'coordinator' | 'gateway'): Promise<string>;
  /** Where nodes connect. */
  readonly edge: EdgePlace;
  /** Temporal, for looking at what happened. */
  readonly client: Client;
  /** Sends a chat request as an app would; through the second coordinator's gateway for 1. */
  chat(body: object, key?: string, gateway?: number, options?: ChatOptions): Promise<Response>;
  /** What the API says of a request, once it has ended. */
  ended(requestId: string): Promise<RequestView>;
  /** What the first coordinator has logged about a request or a node. */
  logged(id: string): Promise<LogLine[]>;
  /** Of the first coordinator, as it runs now. */
  coordinatorPid(): number;
  /** Kills the coordinator without warning. */
  killCoordinator(): Promise<void>;
  startCoordinator(): Promise<void>;
  /** Kills the first gateway without warning. */
  killGateway(): Promise<void>;
  startGateway(): Promise<void>;
  stop(): Promise<void>;
}

export interface ChatOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Hangs up. */
  readonly signal?: AbortSignal;
}

export interface RequestView {
  readonly id: string;
  readonly status: string;
  readonly finished_at: string | null;
  readonly charged_wei: string;
  readonly reserved_wei: string;
  readonly error: { readonly code: string } | null;
  readonly proof_of_execution: { readonly node: string; readonly dispatch: number } | null;
  readonly result: { readonly choices: { message: { content: string } }[] } | null;
  readonly steps?: { step: string; state: string; elapsed_ms: number | null; note?: string }[];
}

/** A line of a role's log; what else it has depends on what it says. */
export interface LogLine extends Readonly<Record<string, unknown>> {
  /** Severity, by pino: 40 is a warning. */
  readonly level: number;
  readonly msg: string;
}

const ENDED_MS_MAX = 30_000;
export const INTAKE_TOKEN = 'test-intake-token-0123456789';

/**
 * @param coordinators how many; each has a gateway of its own, and all share one key ring.
 * @param policy of sampling: by default nothing is checked, unlike in the product.
 * @param settings of the coordinators' environment.
 */
export async function startCoordination(
  coordinators = 1,
  policy: SamplingPolicy = UNCHECKED,
  settings: Readonly<Record<string, string>> = {},
): Promise<Coordination> {
  const { directory, temporalAddress } = await testServers();
  const db = await freshDatabase();
  await seedInstant(db.database);
  const places: Place[] = [];
  while (places.length < coordinators) places.push(await place());
  const [first] = places as [Place];
  const keys = join(directory, `keys-${first.coordinatorPort}`);
  await commitPolicy(policy, db.database, join(keys, 'coordinator'));
  const ca = await testCaFile();
  const logFile = (name: string, { coordinatorPort }: Place) =>
    join(directory, `${name}-${coordinatorPort}.log`);
  const spawn = (name: 'coordinator' | 'gateway', at: Place, env: Record<string, string>) =>
    spawnRole({
      name,
      entry: fileURLToPath(new URL(`../../workers/${name}.ts`, import.meta.url)),
      env: {
        DATABASE_URL: db.url,
        PLX_INTAKE_TOKEN: INTAKE_TOKEN,
        PLX_EDGE_TOKEN: EDGE_TOKEN,
        PLX_CA: ca,
        PLX_COORDINATOR_URL: at.coordinatorUrl,
        ...env,
      },
      logFile: logFile(name, at),
    });
  const spawnCoordinator = (at: Place) =>
    spawn('coordinator', at, {
      TEMPORAL_ADDRESS: temporalAddress,
      PLX_COORDINATOR_PORT: String(at.coordinatorPort),
      PLX_COORDINATOR_KEYS: join(keys, 'coordinator'),
      PLX_COORDINATOR_METRICS_PORT: String(at.metricsPorts.coordinator),
      ...settings,
    });
  const spawnGateway = (at: Place) =>
    spawn('gateway', at, {
      PLX_GATEWAY_PORT: String(at.gatewayPort),
      PLX_GATEWAY_KEYS: join(keys, 'gateway'),
      PLX_GATEWAY_METRICS_PORT: String(at.metricsPorts.gateway),
    });
  let [coordinator, gateway]: Role[] = await Promise.all([
    spawnCoordinator(first),
    spawnGateway(first),
  ]);
  // One after the other: the first one makes the keys.
  const others: Role[] = [];
  for (const at of places.slice(1)) others.push(await spawnCoordinator(at), await spawnGateway(at));
  const edge = await startTestEdge({
    databaseUrl: db.url,
    coordinatorUrl: first.coordinatorUrl,
    name: String(first.coordinatorPort),
  });
  const connection = await Connection.connect({ address: temporalAddress });
  const authorization = (key: string) => ({ authorization: `Bearer ${key}` });
  const { coordinatorUrl, gatewayUrl } = first;
  return {
    database: db.database,
    databaseUrl: db.url,
    gatewayUrl,
    gatewayUrls: places.map((at) => at.gatewayUrl),
    coordinatorUrl,
    temporalAddress,
    async metrics(role) {
      const url = `http://127.0.0.1:${first.metricsPorts[role]}/metrics`;
      return (await fetch(url)).text();
    },
    edge,
    client: new Client({ connection }),
    chat: (body, key = API_KEY, index = 0, { headers, signal } = {}) =>
      fetch(`${places[index]?.gatewayUrl}/v1/chat/completions`, {
        method: 'POST',
        headers: { ...authorization(key), 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
        ...(signal ? { signal } : {}),
      }),
    async ended(requestId) {
      const untilMs = Date.now() + ENDED_MS_MAX;
      for (;;) {
        const response = await fetch(`${gatewayUrl}/v1/requests/${requestId}`, {
          headers: authorization(API_KEY),
        });
        const view = (await response.json()) as RequestView;
        if (view.finished_at !== null) return view;
        if (Date.now() > untilMs) throw new Error(`${requestId} is still ${view.status}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    async logged(id) {
      const text = await readFile(logFile('coordinator', first), 'utf8');
      // The last line may not be whole yet, and is of no request then.
      const lines = text
        .split('\n')
        .slice(0, -1)
        .filter((line) => line.includes(shortId(id as UnitId)));
      return lines.map((line) => JSON.parse(line) as LogLine);
    },
    coordinatorPid: () => coordinator?.pid ?? 0,
    killCoordinator: () => kill(coordinator),
    async startCoordinator() {
      coordinator = await spawnCoordinator(first);
    },
    killGateway: () => kill(gateway),
    async startGateway() {
      gateway = await spawnGateway(first);
    },
    async stop() {
      await edge.stop();
      await Promise.all([gateway, coordinator, ...others].map(async (role) => role?.stop()));
      await connection.close();
      await db.close();
    },
  };
}

async function kill(role: Role | undefined): Promise<void> {
  if (role) process.kill(role.pid, 'SIGKILL');
  await role?.stop();
}

/** Where a coordinator and its gateway listen. */
interface Place {
  readonly coordinatorPort: number;
  readonly gatewayPort: number;
  readonly coordinatorUrl: string;
  readonly gatewayUrl: string;
  readonly metricsPorts: Readonly<Record<'coordinator' | 'gateway', number>>;
}

async function place(): Promise<Place> {
  const [coordinatorPort, gatewayPort] = [await freePort(), await freePort()];
  return {
    coordinatorPort,
    gatewayPort,
    coordinatorUrl: `http://127.0.0.1:${coordinatorPort}`,
    gatewayUrl: `http://127.0.0.1:${gatewayPort}`,
    metricsPorts: { coordinator: await freePort(), gateway: await freePort() },
  };
}

import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { digestModelFile } from '../../nodes/backends/llama-engine.ts';
import { openDatabase } from '../../prisma/client.ts';
import { migrate } from '../../prisma/migrate.ts';
import { leaveClientFile } from './client-file.ts';
import { startPostgres, stopLeftoverPostgres } from './postgres.ts';
import { spawnRole, type Role } from './process.ts';
import { secretFile, seed } from './seed.ts';
import { startTemporal, stopLeftoverTemporal } from './temporal.ts';

/** One embedded node: its operator's account and its hardware tier. */
export interface EmbeddedNode {
  readonly name: string;
  readonly operator: string;
  readonly tier: number;
}

/** TCP ports on 127.0.0.1. */
export interface NetworkPorts {
  readonly gateway: number;
  readonly coordinator: number;
  readonly postgres: number;
  readonly temporal: number;
  readonly temporalUi: number;
}

export interface NetworkOptions {
  /** Where everything that must survive a restart is kept. */
  readonly dataDir: string;
  readonly ports: NetworkPorts;
  readonly temporalCliPath: string;
  readonly modelPath: string;
  readonly nodes: readonly EmbeddedNode[];
  /** Told of each part: when its start begins, and when it is up. */
  readonly onProgress: (part: string, state: 'starting' | 'up') => void;
  /** Told of a role that ended by itself. */
  readonly onExit: (role: string, reason: string) => void;
}

export const EMBEDDED_MODEL_ID = 'smollm2-135m-instruct';
const CONTEXT_TOKENS = 2_048;
const NAMESPACE = 'default';

export interface Network {
  readonly gatewayUrl: string;
  readonly coordinatorUrl: string;
  readonly temporalAddress: string;
  readonly temporalUiUrl: string;
  readonly databaseUrl: string;
  readonly apiKey: string;
  readonly roles: ReadonlyMap<string, Role>;
  /** Starts a role again, after it ended or was killed. */
  restart(role: string): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Starts a whole network on this machine: PostgreSQL, Temporal, coordinator, gateway and nodes,
 * each as a process of its own. If a part fails, those already started are stopped again.
 */
export async function startNetwork(options: NetworkOptions): Promise<Network> {
  // Made before the private folders in it: PostgreSQL's account must be able to pass through.
  await mkdir(options.dataDir, { recursive: true, mode: 0o755 });
  const stops: (() => Promise<void>)[] = [];
  const stop = async () => {
    for (const each of stops.splice(0).toReversed()) await each();
  };
  try {
    const embedded = await startServers(options, stops);
    const roles = new Map<string, Role>();
    const environments = await roleEnvironments(options, embedded);
    const start = async (name: string) => {
      options.onProgress(name, 'starting');
      roles.set(name, await startRole(options, name, environments));
      options.onProgress(name, 'up');
    };
    // Roles end before the servers that they use, and all at once: nodes may be slow to drain.
    stops.push(
      async () => void (await Promise.all([...roles.values()].map((role) => role.stop()))),
    );
    // The slowest part of a node's start is its model, so nodes load while the others come up:
    // they wait for a coordinator by themselves.
    await Promise.all([...environments.keys()].map(start));
    const gatewayUrl = `http://127.0.0.1:${options.ports.gateway}`;
    stops.push(await leaveClientFile(options.dataDir, gatewayUrl, embedded.apiKey));
    return {
      gatewayUrl,
      coordinatorUrl: embedded.coordinatorUrl,
      temporalAddress: embedded.temporalAddress,
      temporalUiUrl: embedded.temporalUiUrl,
      databaseUrl: embedded.databaseUrl,
      apiKey: embedded.apiKey,
      roles,
      restart: start,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * Deletes databases, keys and logs. Servers that a killed network left running on them are stopped
 * first.
 *
 * @throws Error if a network still runs on them; nothing is deleted then.
 */
export async function resetData(dataDir: string, log: (message: string) => void): Promise<void> {
  await stopLeftoverPostgres(join(dataDir, 'postgres'), log);
  await stopLeftoverTemporal(join(dataDir, 'temporal', 'temporal.db'), log);
  await rm(dataDir, { recursive: true, force: true });
}

interface Servers {
  readonly databaseUrl: string;
  readonly temporalAddress: string;
  readonly temporalUiUrl: string;
  readonly coordinatorUrl: string;
  readonly apiKey: string;
}

/** PostgreSQL with its tables and the demo account, and Temporal; the ones given are used as is. */
async function startServers(
  { dataDir, ports, temporalCliPath, modelPath, onProgress }: NetworkOptions,
  stops: (() => Promise<void>)[],
): Promise<Servers> {
  const apiKey = await secretFile(join(dataDir, 'keys', 'demo-api-key'), 'plx-');
  const database = async () => {
    onProgress('postgresql', 'starting');
    const given = process.env['DATABASE_URL'];
    const logFile = join(dataDir, 'logs', 'postgresql.log');
    const own = given
      ? undefined
      : await startPostgres({ dataDir: join(dataDir, 'postgres'), port: ports.postgres, logFile });
    if (own) stops.unshift(() => own.stop());
    const url = given ?? own?.url ?? '';
    await migrate(url);
    const client = openDatabase(url, 1);
    const digest = await digestModelFile(modelPath);
    await seed(client, apiKey, { id: EMBEDDED_MODEL_ID, digest, contextTokens: CONTEXT_TOKENS });
    await client.$disconnect();
    onProgress('postgresql', 'up');
    return url;
  };
  const temporal = async () => {
    onProgress('temporal', 'starting');
    const given = process.env['TEMPORAL_ADDRESS'];
    const uiUrl = `http://127.0.0.1:${ports.temporalUi}`;
    if (given) return { address: given, uiUrl: process.env['PLX_TEMPORAL_UI_URL'] ?? uiUrl };
    const own = await startTemporal({
      cliPath: temporalCliPath,
      dbFile: join(dataDir, 'temporal', 'temporal.db'),
      port: ports.temporal,
      uiPort: ports.temporalUi,
      logFile: join(dataDir, 'logs', 'temporal.log'),
    });
    stops.unshift(() => own.stop());
    onProgress('temporal', 'up');
    return own;
  };
  const [databaseUrl, { address, uiUrl }] = await allOrNone([database(), temporal()]);
  return {
    databaseUrl,
    temporalAddress: address,
    temporalUiUrl: uiUrl,
    coordinatorUrl: `http://127.0.0.1:${ports.coordinator}`,
    apiKey,
  };
}

/** Waits for both before it throws, so that what the other one started gets stopped too. */
async function allOrNone<A, B>(work: [Promise<A>, Promise<B>]): Promise<[A, B]> {
  await Promise.allSettled(work);
  return Promise.all(work);
}

/** What each role gets to know, and nothing else. */
async function roleEnvironments(
  { dataDir, ports, modelPath, nodes }: NetworkOptions,
  servers: Servers,
): Promise<Map<string, Record<string, string>>> {
  const keys = join(dataDir, 'keys');
  const intakeToken = await secretFile(join(keys, 'intake-token'));
  const temporal = { TEMPORAL_ADDRESS: servers.temporalAddress, TEMPORAL_NAMESPACE: NAMESPACE };
  const environments = new Map<string, Record<string, string>>();
  environments.set('coordinator', {
    ...temporal,
    DATABASE_URL: servers.databaseUrl,
    PLX_COORDINATOR_PORT: String(ports.coordinator),
    PLX_COORDINATOR_KEYS: join(keys, 'coordinator'),
    PLX_INTAKE_TOKEN: intakeToken,
  });
  environments.set('gateway', {
    DATABASE_URL: servers.databaseUrl,
    PLX_COORDINATOR_URL: servers.coordinatorUrl,
    PLX_GATEWAY_PORT: String(ports.gateway),
    PLX_GATEWAY_KEYS: join(keys, 'gateway'),
    PLX_INTAKE_TOKEN: intakeToken,
    PLX_TEMPORAL_UI_URL: servers.temporalUiUrl,
    TEMPORAL_NAMESPACE: NAMESPACE,
  });
  for (const node of nodes)
    environments.set(node.name, {
      ...temporal,
      PLX_COORDINATOR_URL: servers.coordinatorUrl,
      PLX_NODE_NAME: node.name,
      PLX_OPERATOR: node.operator,
      PLX_NODE_TIER: String(node.tier),
      PLX_NODE_SLOTS: '2',
      PLX_NODE_KEYS: join(keys, node.name),
      PLX_MODEL_ID: EMBEDDED_MODEL_ID,
      MODEL_PATH: modelPath,
    });
  return environments;
}

function startRole(
  { dataDir, onExit }: NetworkOptions,
  name: string,
  environments: ReadonlyMap<string, Record<string, string>>,
): Promise<Role> {
  const kind = name === 'coordinator' || name === 'gateway' ? name : 'node';
  return spawnRole({
    name,
    entry: fileURLToPath(import.meta.resolve(`../${kind}.ts`)),
    env: environments.get(name) ?? {},
    logFile: join(dataDir, 'logs', `${name}.log`),
    onExit: (reason) => onExit(name, reason),
  });
}

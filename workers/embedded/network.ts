import { join, resolve } from 'node:path';
import { digestModelFile } from '../../nodes/backends/model-file.ts';
import { openDatabase } from '../../prisma/client.ts';
import { migrate } from '../../prisma/migrate.ts';
import { moduleFile } from '../module-file.ts';
import { leaveClientFile } from './client-file.ts';
import { whenNodesActive } from './active-nodes.ts';
import { openDataDir, type OpenDataDir } from './data-dir.ts';
import { explained } from './disk.ts';
import { edgeCaPath } from './edge-ca.ts';
import { Keeper } from './keeper.ts';
import { CONTEXT_TOKENS, EMBEDDED_MODEL_ID } from './model.ts';
import { demoAccount, embeddedOperator } from './operators.ts';
import { choosePorts, type NetworkPorts } from './port-block.ts';
import { startPostgres } from './postgres.ts';
import { spawnRole, type Role } from './process.ts';
import { makeNodeKeys, roleEnvironments } from './role-environments.ts';
import { secretFile, seed, seedAdminKey, seedOperators } from './seed.ts';
import type { Part } from './supervisor.ts';
import { startTemporal } from './temporal.ts';

/** One embedded node: its operator's account and its hardware tier. */
export interface EmbeddedNode {
  readonly name: string;
  readonly operator: string;
  readonly tier: number;
}

export interface NetworkOptions {
  /** Where everything that must survive a restart is kept. */
  readonly dataDir: string;
  /** Those that must be so; the others come from a free block of ports. */
  readonly ports: Partial<NetworkPorts>;
  readonly temporalCliPath: string;
  readonly modelPath: string;
  readonly nodes: readonly EmbeddedNode[];
  /** Told of each part: when its start begins, and when it is up. */
  readonly onProgress: (part: string, state: 'starting' | 'up') => void;
  /** Told of a server or role that ended by itself; it is started again. */
  readonly onExit: (part: string, reason: string) => void;
  /** Told what a person may want to know, such as a stopped orphan; stderr by default. */
  readonly log?: (message: string) => void;
  /** Deletes databases, keys and logs first. */
  readonly reset?: boolean;
  /** Gives up starting, and starts nothing again from then on; `stop` is still needed. */
  readonly signal?: AbortSignal;
}

/** After this the network starts with the nodes that it has; requests wait for the others. */
const MEASURED_SECONDS_MAX = 15;

export interface Network {
  readonly gatewayUrl: string;
  /** HOST:PORT, where nodes connect. */
  readonly edgeAddress: string;
  /** File of the certificates by which nodes know it. */
  readonly edgeCa: string;
  readonly coordinatorUrl: string;
  readonly temporalAddress: string;
  readonly temporalUiUrl: string;
  readonly databaseUrl: string;
  readonly apiKey: string;
  /** Servers and roles by name, as they run now; `ready` is what a role announced. */
  part(name: string): Part & Partial<Pick<Role, 'ready'>>;
  readonly partNames: readonly string[];
  /** Resolves when a part keeps ending: then the network is of no use and should be stopped. */
  readonly failed: Promise<Error>;
  stop(): Promise<void>;
}

/**
 * Starts a whole network on this machine: PostgreSQL, Temporal, coordinator, gateway, edge, nodes,
 * each as a process of its own, which is started again if it ends. What a killed network left
 * running is stopped first. If a part fails to start, those already started are stopped again.
 *
 * @throws Error for people: a network already runs here, a port in use, no room, and so on.
 */
export async function startNetwork(options: NetworkOptions): Promise<Network> {
  const dataDir = resolve(options.dataDir);
  const { log = console.error, reset = false, signal } = options;
  const stops: (() => Promise<void>)[] = [];
  const stop = async () => {
    for (const each of stops.splice(0).toReversed()) await each();
  };
  try {
    const opened = await openDataDir(dataDir, { log, reset });
    stops.push(() => opened.close());
    const chosen = await choosePorts(dataDir, options.ports, log);
    stops.push(() => chosen.release());
    await opened.announce(`http://127.0.0.1:${chosen.ports.gateway}`);
    const settled = { ...options, dataDir, ports: chosen.ports, log };
    return await startParts(settled, opened, stops, stop);
  } catch (error) {
    await stop();
    signal?.throwIfAborted();
    return explained(dataDir, () => Promise.reject(error as Error));
  }
}

export interface Settled extends NetworkOptions {
  readonly ports: NetworkPorts;
  readonly log: (message: string) => void;
}

async function startParts(
  options: Settled,
  opened: OpenDataDir,
  stops: (() => Promise<void>)[],
  stop: () => Promise<void>,
): Promise<Network> {
  const keeper = new Keeper(options);
  const making = makeNodeKeys(options);
  const embedded = await startServers(options, keeper, stops);
  await making;
  const environments = await roleEnvironments(options, embedded);
  const servers = keeper.names();
  const roles: { stop(): Promise<void> }[] = [];
  // Roles end before the servers that they use, and all at once: nodes may be slow to drain.
  stops.push(async () => void (await Promise.all(roles.map((role) => role.stop()))));
  const start = async (name: string) => {
    const role = await keeper.keep(name, {
      start: (onExit, signal) =>
        startRole(options, name, environments, opened.recordFile(name), onExit, signal),
      ready: () => keeper.up(servers),
    });
    roles.push(role);
  };
  // The slowest part of a node's start is its model, so nodes load while the others come up:
  // they wait for a coordinator by themselves.
  await keeper.allOrNone([...environments.keys()].map(start));
  await nodesMeasured(options, embedded.databaseUrl);
  const gatewayUrl = `http://127.0.0.1:${options.ports.gateway}`;
  const edgeAddress = `127.0.0.1:${options.ports.edge}`;
  const edgeCa = edgeCaPath(options.dataDir);
  const known = { ...embedded, gatewayUrl, edgeAddress, edgeCa };
  stops.push(await leaveClientFile(options.dataDir, known));
  return {
    gatewayUrl,
    edgeAddress,
    edgeCa,
    coordinatorUrl: embedded.coordinatorUrl,
    temporalAddress: embedded.temporalAddress,
    temporalUiUrl: embedded.temporalUiUrl,
    databaseUrl: embedded.databaseUrl,
    apiKey: embedded.apiKey,
    partNames: keeper.names(),
    part: (name) => keeper.current(name),
    failed: keeper.failed,
    stop,
  };
}

export interface Servers {
  readonly databaseUrl: string;
  readonly temporalAddress: string;
  readonly temporalUiUrl: string;
  readonly coordinatorUrl: string;
  readonly apiKey: string;
  readonly adminKey: string;
}

/** PostgreSQL with its tables and the demo account, and Temporal; the ones given are used as is. */
async function startServers(
  { dataDir, ports, temporalCliPath, modelPath, nodes, log }: Settled,
  keeper: Keeper,
  stops: (() => Promise<void>)[],
): Promise<Servers> {
  const account = await demoAccount(join(dataDir, 'keys'));
  const apiKey = await secretFile(join(dataDir, 'keys', 'demo-api-key'), 'plx-');
  const adminKey = await secretFile(join(dataDir, 'keys', 'demo-admin-key'), 'plx-admin-');
  const operators: Awaited<ReturnType<typeof embeddedOperator>>[] = [];
  for (const id of new Set(nodes.map(({ operator }) => operator)))
    operators.push(await embeddedOperator(join(dataDir, 'keys'), id));
  const logFile = (name: string) => join(dataDir, 'logs', `${name}.log`);
  const database = async () => {
    let url = process.env['DATABASE_URL'] ?? '';
    if (url === '') {
      const place = { dataDir: join(dataDir, 'postgres'), port: ports.postgres, log };
      const own = await keeper.keep('postgresql', {
        start: (onExit, signal) =>
          startPostgres({ ...place, logFile: logFile('postgresql'), onExit, signal }),
      });
      stops.push(() => own.stop());
      url = own.current().url;
    }
    await migrate(url);
    const client = openDatabase(url, 1);
    const digest = await digestModelFile(modelPath, join(dataDir, 'model-digest.json'));
    const model = { id: EMBEDDED_MODEL_ID, digest, contextTokens: CONTEXT_TOKENS };
    await seed(client, apiKey, model, account);
    await seedAdminKey(client, adminKey, account);
    await seedOperators(client, operators);
    await client.$disconnect();
    return url;
  };
  const temporal = async () => {
    const given = process.env['TEMPORAL_ADDRESS'];
    const uiUrl = `http://127.0.0.1:${ports.temporalUi}`;
    if (given) return { address: given, uiUrl: process.env['PLX_TEMPORAL_UI_URL'] ?? uiUrl };
    const dbFile = join(dataDir, 'temporal', 'temporal.db');
    const listens = { port: ports.temporal, uiPort: ports.temporalUi, log };
    const program = { cliPath: temporalCliPath, dbFile, logFile: logFile('temporal') };
    const own = await keeper.keep('temporal', {
      start: (onExit, signal) => startTemporal({ ...program, ...listens, onExit, signal }),
    });
    stops.push(() => own.stop());
    return own.current();
  };
  const work = [database(), temporal()] as const;
  await keeper.allOrNone(work);
  const [databaseUrl, { address, uiUrl }] = await Promise.all(work);
  return {
    databaseUrl,
    temporalAddress: address,
    temporalUiUrl: uiUrl,
    coordinatorUrl: `http://127.0.0.1:${ports.coordinator}`,
    apiKey,
    adminKey,
  };
}

/** New nodes get work once their canaries have passed; those that were here before, at once. */
async function nodesMeasured({ nodes, log }: Settled, databaseUrl: string): Promise<void> {
  const database = openDatabase(databaseUrl, 1);
  try {
    if (!(await whenNodesActive(database, nodes.length, MEASURED_SECONDS_MAX)))
      log('Not every node has shown yet that it can serve: `prlx nodes` has their states.');
  } finally {
    await database.$disconnect();
  }
}

function startRole(
  { dataDir }: Settled,
  name: string,
  environments: ReadonlyMap<string, Record<string, string>>,
  recordFile: string,
  onExit: (reason: string) => void,
  signal: AbortSignal,
): Promise<Role> {
  const kind = ['coordinator', 'gateway', 'edge'].includes(name) ? name : 'node';
  return spawnRole({
    name,
    entry: moduleFile(`../${kind}`, import.meta.url),
    env: environments.get(name) ?? {},
    logFile: join(dataDir, 'logs', `${name}.log`),
    recordFile,
    onExit,
    signal,
  });
}

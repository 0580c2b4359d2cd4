import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Client } from 'pg';
import { openDatabase, inTransaction } from '../prisma/client.ts';
import { deposit } from '../prisma/ledger.ts';
import { migrate } from '../prisma/migrate.ts';
import { DEMO_ACCOUNT, seed, seedOperators } from '../workers/embedded/seed.ts';
import { startPostgres, type EmbeddedPostgres } from '../workers/embedded/postgres.ts';
import { whenNodesActive } from '../workers/embedded/active-nodes.ts';
import { startTemporal } from '../workers/embedded/temporal.ts';
import { freePorts } from '../workers/embedded/ports.ts';
import { moduleFile } from '../workers/module-file.ts';
import { commitPolicy, UNCHECKED } from './commit-policy.ts';
import { INSTANT_MODEL } from './instant-backend.ts';
import { inOwnDirectory, type Stops } from './own-directory.ts';
import { coordinatorKeys, startPlane } from './plane.ts';
import { testOperator } from './signed-binding.ts';

/** Enough for millions of benchmark requests. */
const DEPOSIT_WEI = 10n ** 24n;

/** Requests that ask for it can only have the one slot of one node. */
export const ONE_SLOT_TIER = 2;
const MEASURED_SECONDS_MAX = 30;

/** Served by the node that reaches Temporal without the edge. */
export const DIRECT_MODEL_ID = 'instant-direct';

/** Of all nodes here. */
const OPERATOR = 'operator-a';

/** Everything that is measured, as processes of their own over the same two servers. */
export interface Cluster {
  readonly gatewayUrl: string;
  readonly floorUrl: string;
  readonly databaseUrl: string;
  readonly temporalAddress: string;
  readonly apiKey: string;
  /** HOST:PORT */
  readonly edgeAddress: string;
  /** Directory of the coordinator's keys, the CA's among them. */
  readonly coordinatorKeys: string;
  readonly postgresVersion: string;
  /** By what they are called in the report. */
  readonly pids: Readonly<Record<string, number>>;
  stop(): Promise<void>;
}

/** @param profileDir where Node processes leave CPU profiles when they stop; none by default. */
export async function startCluster(profileDir?: string): Promise<Cluster> {
  return inOwnDirectory('plx-bench-', (directory, stops) =>
    startParts(directory, stops, profileDir),
  );
}

async function startParts(
  directory: string,
  stops: Stops,
  profileDir: string | undefined,
): Promise<Omit<Cluster, 'stop'>> {
  const servers = await startServers(directory, stops);
  const { postgres, temporal } = servers;
  const apiKey = `plx-${randomBytes(24).toString('base64url')}`;
  await prepareDatabase(postgres.url, apiKey, [OPERATOR]);
  await leaveUnchecked(postgres.url, coordinatorKeys(directory));
  const plane = await startPlane({
    directory,
    stops,
    databaseUrl: postgres.url,
    temporalAddress: temporal.address,
    env: { BENCH_OPERATOR: OPERATOR },
    nodeArgs: (name) => profiling(profileDir, name),
  });
  const spawnNode = (name: string, env: Record<string, string>) =>
    plane.spawnNode(name, moduleFile('./node', import.meta.url), env);
  const node = await spawnNode('node', { BENCH_TIER: '1', BENCH_SLOTS: '128' });
  await spawnNode('direct-node', {
    BENCH_TIER: '1',
    BENCH_SLOTS: '128',
    BENCH_MODEL: DIRECT_MODEL_ID,
    BENCH_WAY: 'direct',
  });
  await spawnNode('one-slot-node', { BENCH_TIER: String(ONE_SLOT_TIER), BENCH_SLOTS: '1' });
  await nodesMeasured(postgres.url);
  const [floorPort] = await freePorts(1);
  const floor = await plane.spawnNode('floor', moduleFile('./floor', import.meta.url), {
    BENCH_PORT: String(floorPort),
    BENCH_NODE_QUEUE: String(node.ready['floorQueue']),
    BENCH_NODE_KEY: String(node.ready['publicKey']),
  });
  const { gatewayUrl, edgeAddress, coordinator, gateway, edge } = plane;
  return {
    gatewayUrl,
    floorUrl: `http://127.0.0.1:${floorPort}`,
    databaseUrl: postgres.url,
    temporalAddress: temporal.address,
    apiKey,
    edgeAddress,
    coordinatorKeys: coordinatorKeys(directory),
    postgresVersion: await versionOf(postgres),
    pids: {
      'floor client and worker': floor.pid,
      coordinator: coordinator.pid,
      gateway: gateway.pid,
      edge: edge.pid,
      node: node.pid,
      Temporal: temporal.pid,
      PostgreSQL: postgres.pid,
    },
  };
}

/** A check is another request's worth of work on another node: it is no part of a request's way. */
async function leaveUnchecked(url: string, keys: string): Promise<void> {
  const database = openDatabase(url, 1);
  await commitPolicy(UNCHECKED, database, keys);
  await database.$disconnect();
}

/** What is measured here begins once the nodes get work. */
async function nodesMeasured(url: string): Promise<void> {
  const database = openDatabase(url, 1);
  const isActive = await whenNodesActive(database, 3, MEASURED_SECONDS_MAX);
  await database.$disconnect();
  if (!isActive) throw new Error('a node of the benchmark did not pass its canary');
}

/** Both servers, stopped by what is added to `stops`. */
export async function startServers(directory: string, stops: Stops) {
  const [port = 0, uiPort = 0, postgresPort = 0] = await freePorts(3);
  const temporal = await startTemporal({
    cliPath: process.env['TEMPORAL_CLI_PATH'] ?? '',
    dbFile: join(directory, 'temporal.db'),
    port,
    uiPort,
    logFile: join(directory, 'logs', 'temporal.log'),
  });
  stops.push(() => temporal.stop());
  const postgres = await startPostgresWithStatistics(directory, postgresPort);
  stops.push(() => postgres.stop());
  return { temporal, postgres };
}

async function versionOf({ url }: EmbeddedPostgres): Promise<string> {
  const [row] = await query<{ server_version: string }>(url, 'SHOW server_version');
  return row?.server_version ?? 'unknown';
}

/** Its extension that counts statements has to be loaded when it starts, so it starts twice. */
async function startPostgresWithStatistics(
  directory: string,
  port: number,
): Promise<EmbeddedPostgres> {
  const options = {
    dataDir: join(directory, 'postgres'),
    port,
    logFile: join(directory, 'logs', 'postgresql.log'),
  };
  const first = await startPostgres(options);
  await query(first.url, `ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'`);
  await first.stop();
  const postgres = await startPostgres(options);
  await query(postgres.url, 'CREATE EXTENSION IF NOT EXISTS pg_stat_statements');
  // Those inside functions and triggers, too.
  await query(postgres.url, `ALTER SYSTEM SET pg_stat_statements.track = 'all'`);
  await query(postgres.url, 'SELECT pg_reload_conf()');
  return postgres;
}

/** Sends one statement over a connection of its own. */
export async function query<Row extends object>(url: string, sql: string): Promise<Row[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query<Row>(sql);
  await client.end();
  return rows;
}

/** Tables, an account with credit and that key, the model of instant nodes, and operators. */
export async function prepareDatabase(
  url: string,
  apiKey: string,
  operators: readonly string[],
): Promise<void> {
  await migrate(url);
  const database = openDatabase(url, 1);
  await seed(database, apiKey, INSTANT_MODEL);
  await seed(database, apiKey, { ...INSTANT_MODEL, id: DIRECT_MODEL_ID });
  await seedOperators(database, operators.map(testOperator));
  await inTransaction(database, (transaction) =>
    deposit(transaction, 'bench', DEMO_ACCOUNT, DEPOSIT_WEI),
  );
  await database.$disconnect();
}

/** Arguments of Node that leave a CPU profile in a directory of that name. */
export function profiling(directory: string | undefined, name: string): string[] {
  return directory === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${join(directory, name)}`];
}

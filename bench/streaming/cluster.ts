import { createHash, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loadOrCreateNodeKeys } from '../../crypto/key-files.ts';
import { openDatabase } from '../../prisma/client.ts';
import { whenNodesActive } from '../../workers/embedded/active-nodes.ts';
import { freePorts } from '../../workers/embedded/ports.ts';
import { spawnRole, type Role } from '../../workers/embedded/process.ts';
import { moduleFile } from '../../workers/module-file.ts';
import { prepareDatabase, profiling, startServers } from '../cluster.ts';
import { commitPolicy, UNCHECKED } from '../commit-policy.ts';
import { INSTANT_MODEL } from '../instant-backend.ts';
import { inOwnDirectory, type Stops } from '../own-directory.ts';
import { coordinatorKeys, startPlane, type Plane } from '../plane.ts';
import { signedBinding } from '../signed-binding.ts';

export interface StreamingClusterOptions {
  /** Nodes over the one backend, each an ordinary one. */
  readonly nodes: number;
  /** Of each node, at most 256. */
  readonly slots: number;
  /** How the backend answers, in milliseconds. */
  readonly firstTokenMs: number;
  readonly tokenMs: number;
  /** Where Node processes leave CPU profiles when they stop; none by default. */
  readonly profileDir?: string | undefined;
}

/** A whole network over a backend at the pace of a real one, and the other ways to that backend. */
export interface StreamingCluster {
  readonly gatewayUrl: string;
  readonly relayUrl: string;
  readonly backendUrl: string;
  readonly apiKey: string;
  /** By what they are called in the report. */
  readonly pids: Readonly<Record<string, number>>;
  /** Ports of the inspectors of those whose memory is looked at. */
  readonly inspectors: Readonly<Record<'gateway' | 'coordinator', number>>;
  stop(): Promise<void>;
}

const OPERATOR = 'operator-a';
const MEASURED_SECONDS_MAX = 60;

/** Starts everything, each part as a process of its own. */
export function startStreamingCluster(options: StreamingClusterOptions): Promise<StreamingCluster> {
  return inOwnDirectory('plx-bench-', (directory, stops) => startParts(directory, stops, options));
}

async function startParts(
  directory: string,
  stops: Stops,
  options: StreamingClusterOptions,
): Promise<Omit<StreamingCluster, 'stop'>> {
  const { postgres, temporal } = await startServers(directory, stops);
  const apiKey = `plx-${randomBytes(24).toString('base64url')}`;
  await prepareDatabase(postgres.url, apiKey, [OPERATOR]);
  const database = openDatabase(postgres.url, 1);
  stops.push(() => database.$disconnect());
  await commitPolicy(UNCHECKED, database, coordinatorKeys(directory));
  const ports = await freePorts(4);
  const [gatewayInspector = 0, coordinatorInspector = 0, backendPort = 0, relayPort = 0] = ports;
  const inspectors = { gateway: gatewayInspector, coordinator: coordinatorInspector };
  const role = (name: string, env: Readonly<Record<string, string>>) =>
    startOwnRole(directory, stops, name, env, profiling(options.profileDir, name));
  const backend = await role('backend', {
    BENCH_PORT: String(backendPort),
    BENCH_FIRST_TOKEN_MS: String(options.firstTokenMs),
    BENCH_TOKEN_MS: String(options.tokenMs),
  });
  const relay = await role('relay', {
    BENCH_PORT: String(relayPort),
    BENCH_BACKEND_PORT: String(backendPort),
    BENCH_KEY_HASH: createHash('sha256').update(apiKey).digest('hex'),
  });
  const plane = await startPlane({
    directory,
    stops,
    databaseUrl: postgres.url,
    temporalAddress: temporal.address,
    env: { PLX_LOG_LEVEL: 'warn' },
    nodeArgs: (name) => [
      ...profiling(options.profileDir, name),
      ...(name in inspectors
        ? [`--inspect=127.0.0.1:${inspectors[name as keyof typeof inspectors]}`]
        : []),
    ],
  });
  const backendUrl = `http://127.0.0.1:${backendPort}`;
  const nodes: Role[] = [];
  for (let index = 1; index <= options.nodes; index++)
    nodes.push(await startNode(plane, directory, `node-${index}`, backendUrl, options.slots));
  if (!(await whenNodesActive(database, nodes.length, MEASURED_SECONDS_MAX)))
    throw new Error('a node of the benchmark did not pass its canary');
  return {
    gatewayUrl: plane.gatewayUrl,
    relayUrl: `http://127.0.0.1:${relayPort}`,
    backendUrl,
    apiKey,
    inspectors,
    pids: {
      backend: backend.pid,
      relay: relay.pid,
      gateway: plane.gateway.pid,
      coordinator: plane.coordinator.pid,
      edge: plane.edge.pid,
      ...Object.fromEntries(nodes.map(({ pid }, index) => [`node ${index + 1}`, pid])),
      Temporal: temporal.pid,
      PostgreSQL: postgres.pid,
    },
  };
}

async function startOwnRole(
  directory: string,
  stops: Stops,
  name: 'backend' | 'relay' | (string & {}),
  env: Readonly<Record<string, string>>,
  nodeArgs: readonly string[],
): Promise<Role> {
  const entry = moduleFile(`./${name}`, import.meta.url);
  const logFile = join(directory, 'logs', `${name}.log`);
  const role = await spawnRole({ name, entry, env, nodeArgs, logFile });
  stops.push(() => role.stop());
  return role;
}

/** A node as an operator runs it. */
async function startNode(
  plane: Plane,
  directory: string,
  name: string,
  backendUrl: string,
  slots: number,
): Promise<Role> {
  const { nodeId } = await loadOrCreateNodeKeys(join(directory, `${name}-keys`));
  const binding = join(directory, `${name}-binding.json`);
  await writeFile(binding, JSON.stringify(await signedBinding(nodeId, OPERATOR)));
  return plane.spawnNode(name, moduleFile('../../workers/node', import.meta.url), {
    PLX_OPERATOR_BINDING: binding,
    PLX_NODE_NAME: name,
    PLX_NODE_TIER: '1',
    PLX_NODE_SLOTS: String(slots),
    PLX_BACKEND: 'openai',
    PLX_OPENAI_URL: `${backendUrl}/v1`,
    PLX_MODEL_ID: INSTANT_MODEL.id,
    PLX_MODEL_DIGEST: INSTANT_MODEL.digest,
  });
}

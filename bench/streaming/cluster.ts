import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loadOrCreateNodeKeys } from '../../crypto/key-files.ts';
import { openDatabase } from '../../prisma/client.ts';
import { whenNodesActive } from '../../workers/embedded/active-nodes.ts';
import { freePorts } from '../../workers/embedded/ports.ts';
import type { Role } from '../../workers/embedded/process.ts';
import { moduleFile } from '../../workers/module-file.ts';
import { prepareDatabase, profiling, startServers } from '../cluster.ts';
import { commitPolicy, UNCHECKED } from '../commit-policy.ts';
import { INSTANT_MODEL } from '../instant-backend.ts';
import { inOwnDirectory, type Stops } from '../own-directory.ts';
import { coordinatorKeys, startPlane, type Plane } from '../plane.ts';
import { signedBinding } from '../signed-binding.ts';
import { startWays } from './ways.ts';

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
  const [gateway = 0, coordinator = 0] = await freePorts(2);
  const inspectors = new Map(Object.entries({ gateway, coordinator }));
  const nodeArgs = (name: string) => {
    const inspector = inspectors.get(name);
    const inspect = inspector === undefined ? [] : [`--inspect=127.0.0.1:${inspector}`];
    return [...profiling(options.profileDir, name), ...inspect];
  };
  const ways = await startWays({ directory, stops, apiKey, nodeArgs, ...options });
  const plane = await startPlane({
    directory,
    stops,
    databaseUrl: postgres.url,
    temporalAddress: temporal.address,
    nodeArgs,
  });
  const nodes: Role[] = [];
  for (let index = 1; index <= options.nodes; index++)
    nodes.push(await startNode(plane, directory, `node-${index}`, ways.backendUrl, options.slots));
  if (!(await whenNodesActive(database, nodes.length, MEASURED_SECONDS_MAX)))
    throw new Error('a node of the benchmark did not pass its canary');
  return {
    gatewayUrl: plane.gatewayUrl,
    relayUrl: ways.relayUrl,
    backendUrl: ways.backendUrl,
    apiKey,
    inspectors: { gateway, coordinator },
    pids: {
      backend: ways.backend.pid,
      relay: ways.relay.pid,
      gateway: plane.gateway.pid,
      coordinator: plane.coordinator.pid,
      edge: plane.edge.pid,
      ...Object.fromEntries(nodes.map(({ pid }, index) => [`node ${index + 1}`, pid])),
      Temporal: temporal.pid,
      PostgreSQL: postgres.pid,
    },
  };
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

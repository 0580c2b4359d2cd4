import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { caSource } from '../../crypto/ca.ts';
import { openDatabase, type Database } from '../../prisma/client.ts';
import { whenNodesActive } from '../../workers/embedded/active-nodes.ts';
import { freePorts } from '../../workers/embedded/ports.ts';
import { spawnRole } from '../../workers/embedded/process.ts';
import { moduleFile } from '../../workers/module-file.ts';
import { prepareDatabase, startServers } from '../cluster.ts';
import { inOwnDirectory, type Stops } from '../own-directory.ts';
import type { Will } from './wills.ts';

const ACTIVE_SECONDS_MAX = 60;

/** A node of the trial. */
export interface TrialNode {
  readonly nodeId: string;
  readonly name: string;
  readonly operator: string;
  readonly will: Will;
}

/** The network under trial: every part of it is a process of its own. */
export interface TrialNetwork {
  readonly gatewayUrl: string;
  readonly apiKey: string;
  readonly database: Database;
  readonly nodes: readonly TrialNode[];
  stop(): Promise<void>;
}

/**
 * @param wills of the nodes; each of them is another operator's.
 * @param samplingRate the share of units that is checked.
 */
export async function startTrialNetwork(
  wills: readonly Will[],
  samplingRate: number,
): Promise<TrialNetwork> {
  return inOwnDirectory('plx-trial-', (directory, stops) =>
    startParts(directory, stops, wills, samplingRate),
  );
}

async function startParts(
  directory: string,
  stops: Stops,
  wills: readonly Will[],
  samplingRate: number,
): Promise<Omit<TrialNetwork, 'stop'>> {
  const { postgres, temporal } = await startServers(directory, stops);
  const apiKey = `plx-${randomBytes(24).toString('base64url')}`;
  const places = wills.map((will, index) => {
    const number = String(index + 1).padStart(2, '0');
    return { will, name: `node-${number}`, operator: `operator-${number}` };
  });
  await prepareDatabase(
    postgres.url,
    apiKey,
    places.map(({ operator }) => operator),
  );
  const [coordinatorPort, gatewayPort, edgePort] = (await freePorts(3)).map(String) as [
    string,
    string,
    string,
  ];
  const shared = {
    DATABASE_URL: postgres.url,
    TEMPORAL_ADDRESS: temporal.address,
    PLX_COORDINATOR_URL: `http://127.0.0.1:${coordinatorPort}`,
    PLX_INTAKE_TOKEN: randomBytes(24).toString('base64url'),
    PLX_EDGE_TOKEN: randomBytes(24).toString('base64url'),
    PLX_EDGE_ADDRESS: `127.0.0.1:${edgePort}`,
    PLX_EDGE_CA: join(directory, 'edge-ca.pem'),
    PLX_LOG_LEVEL: 'warn',
  };
  const spawn = async (name: string, module: string, env: Record<string, string>) => {
    const role = await spawnRole({
      name,
      entry: moduleFile(module, import.meta.url),
      env: { ...shared, ...env },
      logFile: join(directory, 'logs', `${name}.log`),
    });
    stops.push(() => role.stop());
    return role;
  };
  await spawn('coordinator', '../../workers/coordinator', {
    PLX_COORDINATOR_PORT: coordinatorPort,
    PLX_COORDINATOR_KEYS: join(directory, 'coordinator-keys'),
    PLX_SAMPLING_RATES: `ai.inference=${samplingRate}`,
  });
  await spawn('gateway', '../../workers/gateway', {
    PLX_GATEWAY_PORT: gatewayPort,
    PLX_GATEWAY_KEYS: join(directory, 'gateway-keys'),
  });
  await spawn('edge', '../../workers/edge', {
    PLX_EDGE_PORT: edgePort,
    PLX_EDGE_KEYS: join(directory, 'edge-keys'),
    PLX_BLOB_DIR: join(directory, 'blobs'),
  });
  const ca = await caSource({ directory: join(directory, 'coordinator-keys') })();
  await writeFile(shared.PLX_EDGE_CA, ca.trusted);
  const nodes: TrialNode[] = [];
  for (const place of places) {
    const role = await spawn(place.name, './node', {
      TRIAL_NAME: place.name,
      TRIAL_OPERATOR: place.operator,
      TRIAL_WILL: place.will,
      PLX_NODE_KEYS: join(directory, `${place.name}-keys`),
    });
    nodes.push({ ...place, nodeId: String(role.ready['nodeId']) });
  }
  const database = openDatabase(postgres.url, 2);
  stops.push(() => database.$disconnect());
  if (!(await whenNodesActive(database, nodes.length, ACTIVE_SECONDS_MAX)))
    throw new Error('a node of the trial did not pass its canary');
  return { gatewayUrl: `http://127.0.0.1:${gatewayPort}`, apiKey, database, nodes };
}

import { randomBytes } from 'node:crypto';
import { openDatabase, type Database } from '../../prisma/client.ts';
import { whenNodesActive } from '../../workers/embedded/active-nodes.ts';
import { moduleFile } from '../../workers/module-file.ts';
import { prepareDatabase, startServers } from '../cluster.ts';
import { inOwnDirectory, type Stops } from '../own-directory.ts';
import { startPlane } from '../plane.ts';
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
  const plane = await startPlane({
    directory,
    stops,
    databaseUrl: postgres.url,
    temporalAddress: temporal.address,
    coordinatorEnv: { PLX_SAMPLING_RATES: `ai.inference=${samplingRate}` },
    env: { PLX_LOG_LEVEL: 'warn' },
  });
  const nodes: TrialNode[] = [];
  for (const place of places) {
    const role = await plane.spawnNode(place.name, moduleFile('./node', import.meta.url), {
      TRIAL_NAME: place.name,
      TRIAL_OPERATOR: place.operator,
      TRIAL_WILL: place.will,
    });
    nodes.push({ ...place, nodeId: String(role.ready['nodeId']) });
  }
  const database = openDatabase(postgres.url, 2);
  stops.push(() => database.$disconnect());
  if (!(await whenNodesActive(database, nodes.length, ACTIVE_SECONDS_MAX)))
    throw new Error('a node of the trial did not pass its canary');
  return { gatewayUrl: plane.gatewayUrl, apiKey, database, nodes };
}

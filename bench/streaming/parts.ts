import { measuredOn } from '../environment.ts';
import type { Plans } from '../plans.ts';
import { measureAdded } from './added.ts';
import { startStreamingCluster } from './cluster.ts';
import { measureOpenStreams } from './open-streams.ts';
import { renderAdded, renderOpenStreams } from './report.ts';

/** Of one node, at most. */
const SLOTS = 256;

/** How a part is measured, besides its plan. */
export interface PartOptions {
  /** Where Node processes leave CPU profiles; none by default. */
  readonly profileDir?: string | undefined;
  /** Gets one line for people per step. */
  readonly say: (line: string) => void;
}

/** Starts a network of its own, measures what it adds to a stream's time, and reports it. */
export async function reportAdded(plan: Plans['added'], options: PartOptions): Promise<string> {
  const { profileDir, say } = options;
  const on = measuredOn();
  say('Starting a network over a backend at the pace of a real one, and a plain relay …');
  const cluster = await startStreamingCluster({ nodes: 1, slots: SLOTS, ...plan.pace, profileDir });
  try {
    return renderAdded(await measureAdded(cluster, plan, say), plan.pace, on);
  } finally {
    await cluster.stop();
  }
}

/** Starts a network of its own, measures what open streams cost it, and reports it. */
export async function reportOpenStreams(
  plan: Plans['streams'],
  pace: Plans['added']['pace'],
  { profileDir, say }: PartOptions,
): Promise<string> {
  const { nodes } = plan;
  const on = measuredOn();
  say(`Starting a network that has ${nodes} × ${SLOTS} slots …`);
  const cluster = await startStreamingCluster({ nodes, slots: SLOTS, ...pace, profileDir });
  try {
    return renderOpenStreams(await measureOpenStreams(cluster, plan, say), on);
  } finally {
    await cluster.stop();
  }
}

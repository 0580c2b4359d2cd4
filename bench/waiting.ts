import { ONE_SLOT_TIER, type Cluster } from './cluster.ts';
import { closedLoop } from './load.ts';
import { requestOnce } from './scenarios.ts';

/** Requests for one slot at once: so many that one always waits. */
const WAITING_IN_FLIGHT = 8;

/** Time that one slot takes for a request, in milliseconds, by round. */
export interface WaitingCost {
  /** The slot is free when the request comes. */
  readonly freeMs: readonly number[];
  /** The request waits, and is given the slot when the one before it ends. */
  readonly handedMs: readonly number[];
}

/**
 * Measures the waiting path against the fast path, in turns: one slot, either asked by one caller
 * after the other, or by several at once, so that it is handed from each to the next that waits.
 */
export async function measureWaiting(
  cluster: Cluster,
  rounds: number,
  secondsPerRun: number,
): Promise<WaitingCost> {
  const perRequestMs = async (inFlight: number) => {
    const load = { inFlight, seconds: secondsPerRun };
    const one = () => requestOnce(cluster, { hardware_tier: ONE_SLOT_TIER });
    const { latenciesMs, elapsedSeconds } = await closedLoop(load, one);
    return (elapsedSeconds * 1_000) / latenciesMs.length;
  };
  const cost = { freeMs: [] as number[], handedMs: [] as number[] };
  await perRequestMs(WAITING_IN_FLIGHT);
  for (let turn = 0; turn < rounds; turn++) {
    cost.freeMs.push(await perRequestMs(1));
    cost.handedMs.push(await perRequestMs(WAITING_IN_FLIGHT));
  }
  return cost;
}

import type { SprtPlan } from '../../protocol/sprt.ts';

/** What may be left out: the chance that a test is still undecided. */
const NEGLIGIBLE = 1e-15;

/** How one test ends, from its start until it clears or removes; by the number of its checks. */
interface TestEnds {
  readonly removes: readonly number[];
  readonly clears: readonly number[];
}

/** What is to be expected of a node that always loses the same share of its checks. */
export interface SprtChain {
  /** Chance that one test, from its start to its end, removes the node. */
  readonly removeProbability: number;
  /** Of one test, on average. */
  readonly checksPerTest: number;
  /** On average, until one of the tests, begun again and again, removes the node. */
  readonly checksToRemoval: number;
}

/**
 * The sequential test as a Markov chain: all that it knows of a node is how many checks were lost
 * and won since it began. So this is exact, up to what is negligible, where Wald's own formulas
 * leave out by how far the last step passes a limit.
 *
 * @param errorRate share of its checks that the node loses, from above 0 to 1.
 */
export function sprtChain(errorRate: number, plan: SprtPlan): SprtChain {
  const { removes, clears } = testEnds(errorRate, plan);
  const removeProbability = sum(removes);
  const checksPerTest = sum(
    removes.map((removed, checks) => checks * (removed + (clears[checks] ?? 0))),
  );
  // The tests are independent and alike, so their number is geometric (Wald's identity).
  const checksToRemoval = checksPerTest / removeProbability;
  return { removeProbability, checksPerTest, checksToRemoval };
}

/** @returns of each number of checks, from 0 on, the chance that the node is removed by then. */
export function removedWithin(errorRate: number, plan: SprtPlan, checksMax: number): number[] {
  const { removes, clears } = testEnds(errorRate, plan);
  const removed = [0];
  let byFirstTest = 0;
  for (let checks = 1; checks <= checksMax; checks++) {
    byFirstTest += removes[checks] ?? 0;
    let byLaterTest = 0;
    for (let first = 1; first < Math.min(clears.length, checks); first++)
      byLaterTest += (clears[first] ?? 0) * (removed[checks - first] ?? 0);
    removed.push(byFirstTest + byLaterTest);
  }
  return removed;
}

/** Checks after which half of all nodes of an error rate are removed; null above `checksMax`. */
export function medianChecksToRemoval(
  errorRate: number,
  plan: SprtPlan,
  checksMax: number,
): number | null {
  const median = removedWithin(errorRate, plan, checksMax).findIndex((removed) => removed >= 0.5);
  return median < 0 ? null : median;
}

/**
 * Wald's approximations (1945, §4): checks of one test on average, of nodes whose error rate is e0
 * or e1. They leave out by how far the last step passes a limit, and so are too low.
 */
export function waldChecksPerTest(plan: SprtPlan): { readonly e0: number; readonly e1: number } {
  const { e0, e1, alpha, beta } = plan;
  const { upper, lower, onLost, onWon } = stepsAndLimits(plan);
  const drift = (errorRate: number) => errorRate * onLost + (1 - errorRate) * onWon;
  return {
    e0: ((1 - alpha) * lower + alpha * upper) / drift(e0),
    e1: (beta * lower + (1 - beta) * upper) / drift(e1),
  };
}

function stepsAndLimits({ e0, e1, alpha, beta }: SprtPlan) {
  return {
    upper: Math.log((1 - beta) / alpha),
    lower: Math.log(beta / (1 - alpha)),
    onLost: Math.log(e1) - Math.log(e0),
    onWon: Math.log1p(-e1) - Math.log1p(-e0),
  };
}

function testEnds(errorRate: number, plan: SprtPlan): TestEnds {
  if (!(errorRate > 0 && errorRate <= 1)) throw new RangeError(`an error rate of ${errorRate}`);
  const { upper, lower, onLost, onWon } = stepsAndLimits(plan);
  const removes = [0];
  const clears = [0];
  // Of the undecided tests after so many checks: the chance of each number of lost ones.
  let undecided = new Map([[0, 1]]);
  for (let checks = 1; sum([...undecided.values()]) > NEGLIGIBLE; checks++) {
    const next = new Map<number, number>();
    removes[checks] = clears[checks] = 0;
    const end = (lost: number, probability: number) => {
      const ratio = lost * onLost + (checks - lost) * onWon;
      if (ratio >= upper) removes[checks] = (removes[checks] ?? 0) + probability;
      else if (ratio <= lower) clears[checks] = (clears[checks] ?? 0) + probability;
      else next.set(lost, (next.get(lost) ?? 0) + probability);
    };
    for (const [lost, probability] of undecided) {
      end(lost + 1, probability * errorRate);
      end(lost, probability * (1 - errorRate));
    }
    undecided = next;
  }
  return { removes, clears };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

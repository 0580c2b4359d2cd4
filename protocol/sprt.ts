/** No class is taken to be more exact than this (design §7): a limit of 0 would forgive no one. */
export const HONEST_ERROR_RATE_MIN = 0.001;

/** What one sequential test decides between, for one workload class. */
export interface SprtPlan {
  /** Share of checks that an honest node loses. */
  readonly e0: number;
  /** Share from which on a node has to go. */
  readonly e1: number;
  /** Chance that one test, from its start to its end, removes a node of `e0`. */
  readonly alpha: number;
  /** Chance that one test clears a node of `e1`. */
  readonly beta: number;
}

/**
 * The plan of a workload class (design §7; why: docs/decisions/0020-removal.md).
 *
 * @param honestErrorRate share of checks that an honest node of the class loses; what is below
 *   `HONEST_ERROR_RATE_MIN` counts as that.
 * @throws RangeError if it is no share below `e1`: honest nodes couldn't be told from others.
 */
export function sprtPlan(honestErrorRate: number): SprtPlan {
  const plan = { e0: honestErrorRate, e1: 0.1, alpha: 4e-6, beta: 0.05 };
  if (!(honestErrorRate >= 0 && honestErrorRate < plan.e1))
    throw new RangeError(`An honest error rate of ${honestErrorRate} isn't from 0 to ${plan.e1}`);
  return { ...plan, e0: Math.max(honestErrorRate, HONEST_ERROR_RATE_MIN) };
}

export type SprtVerdict = 'continue' | 'clear' | 'remove';

/**
 * Wald's sequential probability ratio test, begun anew whenever it clears the node, so that a good
 * past excuses nothing (A. Wald, Sequential Tests of Statistical Hypotheses, 1945).
 *
 * @param logRatio what is known: ln of the likelihood of all that was observed since the test
 *   began, by `e1` over `e0`. 0 for a node that is new or was let in again.
 * @param agrees whether the node's result was that of the majority.
 * @returns the new ratio; after `clear` it is 0. After `remove` no more is to be observed.
 * @throws RangeError for a ratio that isn't finite: nothing could be decided by it any more.
 */
export function observe(
  logRatio: number,
  agrees: boolean,
  { e0, e1, alpha, beta }: SprtPlan,
): { readonly logRatio: number; readonly verdict: SprtVerdict } {
  if (!Number.isFinite(logRatio)) throw new RangeError(`A log ratio of ${logRatio}`);
  const next = logRatio + Math.log(agrees ? (1 - e1) / (1 - e0) : e1 / e0);
  if (next >= Math.log((1 - beta) / alpha)) return { logRatio: next, verdict: 'remove' };
  if (next <= Math.log(beta / (1 - alpha))) return { logRatio: 0, verdict: 'clear' };
  return { logRatio: next, verdict: 'continue' };
}

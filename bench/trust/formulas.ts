/**
 * Closed forms of what random checks find, and what they miss. Probabilities and rates are from 0
 * to 1. `npm run sim:trust` holds them against simulations; the tables of docs/verification.md are
 * printed from them.
 *
 * Sources: elementary probability, where nothing else is said; A. Wald, Sequential Tests of
 * Statistical Hypotheses, Annals of Mathematical Statistics 16 (1945); D. Montgomery, Statistical
 * Quality Control, chapter 15, for sampling plans and their operating characteristic.
 */

/** How somebody cheats, and how well it is looked for. */
export interface Cheating {
  /** Share of units that is checked. */
  readonly rate: number;
  /** Share of the node's results that is wrong. */
  readonly wrongShare: number;
  /** Chance that the comparator tells a wrong result from a right one. 1 by default. */
  readonly sensitivity?: number;
  /** Chance that whoever checks is a colluder and has the same wrong result. 0 by default. */
  readonly collusion?: number;
}

/** Chance that one unit is found to be wrong: p · c · d · (1 − κ). */
function caughtPerUnit(cheating: Cheating): number {
  const { rate, wrongShare, sensitivity = 1, collusion = 0 } = cheating;
  return rate * wrongShare * sensitivity * (1 - collusion);
}

/** Chance that at least one of so many units is found to be wrong: 1 − (1 − pcd(1 − κ))^N. */
export function detectionProbability(cheating: Cheating, units: number): number {
  return atLeastOnce(caughtPerUnit(cheating), units);
}

/** Units until one is found to be wrong with probability P: ⌈ln(1 − P) / ln(1 − pcd(1 − κ))⌉. */
export function unitsUntilDetected(cheating: Cheating, probability: number): number {
  // One is needed even if it is caught for sure.
  return Math.max(1, Math.ceil(Math.log1p(-probability) / Math.log1p(-caughtPerUnit(cheating))));
}

/** Chance that a sample of a batch has at least one of its bad units: 1 − C(M−b, n) / C(M, n). */
export function batchDetectionProbability(size: number, bad: number, sample: number): number {
  let missed = 1;
  for (let drawn = 0; drawn < sample; drawn++) missed *= (size - bad - drawn) / (size - drawn);
  return 1 - Math.max(0, missed);
}

/** Chance that an honest node loses at least one of so many checks: 1 − (1 − e₀)^n. */
export function falseAlarmProbability(honestErrorRate: number, checks: number): number {
  return atLeastOnce(honestErrorRate, checks);
}

/**
 * Chance that a fixed plan (so many checks, at most so many lost) accepts a node of an error rate:
 * its operating characteristic, Pa(θ) = Σ_{k ≤ c₀} C(n, k) θ^k (1 − θ)^(n − k).
 */
export function fixedPlanAcceptance(checks: number, lostMax: number, errorRate: number): number {
  let term = (1 - errorRate) ** checks;
  let sum = term;
  for (let lost = 1; lost <= lostMax; lost++) {
    term *= ((checks - lost + 1) / lost) * (errorRate / (1 - errorRate));
    sum += term;
  }
  return sum;
}

/** Wrong results of a node that turns bad, on average, before the first is checked: 1/p − 1. */
export function unseenBeforeFirstCheck(rate: number): number {
  return 1 / rate - 1;
}

/** How a check ends, of a wrong result and of a right one. */
export interface VoteChances {
  /** A wrong result, and the first that checks it has the same: nobody notices. */
  readonly silent: number;
  /** A wrong result is disputed, and the third has it, too. */
  readonly wins: number;
  /** A wrong result loses. */
  readonly caught: number;
  /** A right result loses, against two colluders. */
  readonly framed: number;
}

/**
 * The majority of at most three, when m of N operators lie and tell the same lie, and those that
 * check are drawn evenly: q = (m−1)/(N−1), r = (m−1)/(N−2); silent q, wins (1−q)r, caught
 * (1−q)(1−r), framed m(m−1)/((N−1)(N−2)).
 */
export function voteChances(operators: number, colluders: number): VoteChances {
  const second = (colluders - 1) / (operators - 1);
  const third = (colluders - 1) / (operators - 2);
  return {
    silent: second,
    wins: (1 - second) * third,
    caught: (1 - second) * (1 - third),
    framed: (colluders / (operators - 1)) * third,
  };
}

/**
 * Chance of being caught from which on a lie doesn't pay: g / (g + L).
 *
 * @param loss what being caught costs, by what one lie saves.
 */
export function deterrenceThreshold(loss: number): number {
  return 1 / (1 + loss);
}

/**
 * Work for checks by work that is asked for, of honest nodes: p · v + p · e₀ · v₃.
 *
 * @param checkCost of a check by that of the first run; the third vote costs the same. 1 if it is
 *   run again.
 */
export function checkingOverhead(rate: number, honestErrorRate: number, checkCost = 1): number {
  return rate * checkCost + rate * honestErrorRate * checkCost;
}

function atLeastOnce(probability: number, times: number): number {
  return -Math.expm1(times * Math.log1p(-probability));
}

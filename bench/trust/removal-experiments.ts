import { observe, sprtPlan, type SprtPlan, type SprtVerdict } from '../../protocol/sprt.ts';
import type { Random } from '../sim/random.ts';
import { compareMean, compareShare, type Comparison } from './comparison.ts';
import { Draws } from './draws.ts';
import { fixedPlanAcceptance } from './formulas.ts';
import { of, type Trial } from './sampling-experiments.ts';
import { removedWithin, sprtChain } from './sprt-chain.ts';

/** How soon the coordinator's own sequential test removes whom; and what a fixed plan would do. */
export function removalExperiments(trial: Trial): Comparison[] {
  const { random, runs } = trial;
  return [
    ...[0.001, 0.01].flatMap((e0) => oneTest(random, sprtPlan(e0), runs)),
    ...[0.02, 0.1, 1].map((errorRate) => repeated(trial, errorRate)),
    withinChecks(random, Math.ceil(runs / 10)),
    unitsServed(trial),
    ...[0.05, 0.1].map((errorRate) => fixedPlan(random, errorRate, runs)),
  ];
}

interface TestEnd {
  readonly verdict: SprtVerdict;
  readonly checks: number;
  readonly lost: number;
}

/** From the start of a test until it clears or removes. */
function test(random: Random, errorRate: number, plan: SprtPlan): TestEnd {
  let [logRatio, checks, lost] = [0, 0, 0];
  for (;;) {
    const agrees = !random.chance(errorRate);
    checks++;
    if (!agrees) lost++;
    const observed = observe(logRatio, agrees, plan);
    if (observed.verdict !== 'continue') return { verdict: observed.verdict, checks, lost };
    logRatio = observed.logRatio;
  }
}

function oneTest(random: Random, plan: SprtPlan, runs: number): Comparison[] {
  const { e0, e1 } = plan;
  const name = (who: string, what: string) => `SPRT, e₀ ${of(e0)}, ${who}: ${what}`;
  const [honest, bad] = [sprtChain(e0, plan), sprtChain(e1, plan)];
  // An honest node is removed too rarely to count that. So nodes that lose with e1 are drawn, and
  // each that is removed counts by how much likelier that was than with e0 (D. Siegmund, Importance
  // sampling in the Monte Carlo study of sequential tests, 1976).
  const weight = ({ verdict, checks, lost }: TestEnd) =>
    verdict === 'remove' ? (e0 / e1) ** lost * ((1 - e0) / (1 - e1)) ** (checks - lost) : 0;
  return [
    compareMean(
      name('honest', 'checks of a test'),
      honest.checksPerTest,
      runs,
      () => test(random, e0, plan).checks,
    ),
    compareMean(name('honest', 'a test removes it'), honest.removeProbability, runs, () =>
      weight(test(random, e1, plan)),
    ),
    compareMean(
      name(`lies in ${of(e1)}`, 'checks of a test'),
      bad.checksPerTest,
      runs,
      () => test(random, e1, plan).checks,
    ),
    compareShare(
      name(`lies in ${of(e1)}`, 'a test removes it'),
      bad.removeProbability,
      runs,
      () => test(random, e1, plan).verdict === 'remove',
    ),
  ];
}

/** Until one of the tests removes it; whether another begins is for `observe` to decide. */
function checksToRemoval(random: Random, errorRate: number, plan: SprtPlan): number {
  let logRatio = 0;
  for (let checks = 1; ; checks++) {
    const observed = observe(logRatio, !random.chance(errorRate), plan);
    if (observed.verdict === 'remove') return checks;
    logRatio = observed.logRatio;
  }
}

function repeated({ random, runs }: Trial, errorRate: number): Comparison {
  const plan = sprtPlan(0.001);
  return compareMean(
    `SPRT, e₀ 0.1 %, lies in ${of(errorRate)}: checks until removed`,
    sprtChain(errorRate, plan).checksToRemoval,
    Math.ceil(runs / 4),
    () => checksToRemoval(random, errorRate, plan),
  );
}

function withinChecks(random: Random, runs: number): Comparison {
  const [plan, errorRate, checks] = [sprtPlan(0.001), 0.01, 1_000];
  return compareShare(
    `SPRT, e₀ 0.1 %, lies in ${of(errorRate)}: removed in ${checks} checks`,
    removedWithin(errorRate, plan, checks)[checks] ?? 0,
    runs,
    () => checksToRemoval(random, errorRate, plan) <= checks,
  );
}

/** Draws and test together. */
function unitsServed({ random, runs, seed }: Trial): Comparison {
  const [plan, errorRate, rate] = [sprtPlan(0.001), 0.1, 0.05];
  const draws = new Draws(rate, seed + 4);
  return compareMean(
    `lies in ${of(errorRate)}, sampled ${of(rate)}: units until removed`,
    sprtChain(errorRate, plan).checksToRemoval / rate,
    Math.ceil(runs / 40),
    () => {
      let units = 0;
      for (let left = checksToRemoval(random, errorRate, plan); left > 0; units++)
        if (draws.next()) left--;
      return units;
    },
  );
}

function fixedPlan(random: Random, errorRate: number, runs: number): Comparison {
  const [checks, lostMax] = [129, 7];
  return compareShare(
    `at most ${lostMax} of ${checks} lost, lies in ${of(errorRate)}: accepted`,
    fixedPlanAcceptance(checks, lostMax, errorRate),
    runs,
    () => {
      let lost = 0;
      for (let check = 0; check < checks; check++) if (random.chance(errorRate)) lost++;
      return lost <= lostMax;
    },
  );
}

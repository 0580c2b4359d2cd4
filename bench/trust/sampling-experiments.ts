import type { Random } from '../sim/random.ts';
import { compareMean, compareShare, type Comparison } from './comparison.ts';
import { Draws } from './draws.ts';
import {
  batchDetectionProbability,
  checkingOverhead,
  detectionProbability,
  deterrenceThreshold,
  falseAlarmProbability,
  unitsUntilDetected,
  unseenBeforeFirstCheck,
  type Cheating,
} from './formulas.ts';
import { simulateVote } from './simulated-vote.ts';

/** What the experiments of `npm run sim:trust` have in common. */
export interface Trial {
  readonly random: Random;
  /** Repetitions of a cheap experiment; others take a share of it. */
  readonly runs: number;
  readonly seed: number;
}

/** What random checks find. */
export function samplingExperiments(trial: Trial): Comparison[] {
  const { runs } = trial;
  const dear = Math.ceil(runs / 10);
  return [
    detection(trial, { rate: 0.02, wrongShare: 1 }, dear),
    detection(trial, { rate: 0.05, wrongShare: 0.1 }, dear),
    detection(trial, { rate: 0.1, wrongShare: 0.01 }, dear),
    detection(trial, { rate: 0.05, wrongShare: 0.1, sensitivity: 0.8, collusion: 0.25 }, dear),
    ...[1, 5, 14, 28].map((bad) => batch(trial, bad)),
    falseAlarms(trial),
    ...[0.02, 0.05].map((rate) => sleeper(trial, rate, dear)),
    deterrence(trial),
    overhead(trial),
  ];
}

/** At as many units as should be enough in 95 % of cases. */
function detection({ random, seed }: Trial, cheating: Cheating, runs: number): Comparison {
  const { rate, wrongShare, sensitivity = 1, collusion = 0 } = cheating;
  const units = unitsUntilDetected(cheating, 0.95);
  const draws = new Draws(rate, seed);
  const isCaught = () =>
    random.chance(wrongShare) &&
    draws.next() &&
    !random.chance(collusion) &&
    random.chance(sensitivity);
  return compareShare(
    `lies in ${of(wrongShare)}, sampled ${of(rate)}` +
      `${sensitivity < 1 || collusion > 0 ? `, d ${sensitivity}, κ ${collusion}` : ''}: ` +
      `found in ${units} units`,
    detectionProbability(cheating, units),
    runs,
    () => Array.from({ length: units }).some(isCaught),
  );
}

/** The specification's example: 14 of 142. */
function batch({ random, runs }: Trial, bad: number): Comparison {
  const [size, sample] = [142, 14];
  return compareShare(
    `batch of ${size}, ${sample} checked: one of ${bad} bad found`,
    batchDetectionProbability(size, bad, sample),
    runs,
    () => {
      const units = Array.from({ length: size }, (_, index) => index < bad);
      for (let drawn = 0; drawn < sample; drawn++) {
        const [unit] = units.splice(Math.floor(random.between(0, units.length)), 1);
        if (unit) return true;
      }
      return false;
    },
  );
}

function falseAlarms({ random, runs }: Trial): Comparison {
  const [errorRate, checks] = [0.01, 100];
  return compareShare(
    `honest, e₀ ${of(errorRate)}: loses one of ${checks} checks`,
    falseAlarmProbability(errorRate, checks),
    runs,
    () => Array.from({ length: checks }).some(() => random.chance(errorRate)),
  );
}

function sleeper({ seed }: Trial, rate: number, runs: number): Comparison {
  const draws = new Draws(rate, seed + 1);
  return compareMean(
    `turned bad, sampled ${of(rate)}: lies before the first check`,
    unseenBeforeFirstCheck(rate),
    runs,
    () => {
      let unseen = 0;
      while (!draws.next()) unseen++;
      return unseen;
    },
  );
}

/** Where a lie gains as much as it costs, it gains nothing on average. */
function deterrence({ runs, seed }: Trial): Comparison {
  const loss = 10;
  const draws = new Draws(deterrenceThreshold(loss), seed + 2);
  return compareMean(
    `sampled at the threshold of a loss of ${loss} gains: gain of a lie`,
    0,
    runs,
    () => (draws.next() ? -loss : 1),
  );
}

function overhead({ random, runs, seed }: Trial): Comparison {
  const [rate, errorRate] = [0.2, 0.2];
  const draws = new Draws(rate, seed + 3);
  return compareMean(
    `honest, e₀ ${of(errorRate)}, sampled ${of(rate)}: checks per unit`,
    checkingOverhead(rate, errorRate),
    runs,
    () => {
      if (!draws.next()) return 0;
      let asked = 0;
      const second = random.chance(errorRate) ? 'another' : 'the result';
      return simulateVote(() => (asked++ === 1 ? second : 'the result')).votes - 1;
    },
  );
}

/** A share, for people. */
export function of(share: number): string {
  return `${Number((share * 100).toPrecision(3))} %`;
}

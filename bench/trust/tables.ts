import { HONEST_ERROR_RATE_MIN, sprtPlan } from '../../protocol/sprt.ts';
import {
  batchDetectionProbability,
  checkingOverhead,
  detectionProbability,
  deterrenceThreshold,
  unitsUntilDetected,
  unseenBeforeFirstCheck,
  voteChances,
} from './formulas.ts';
import { medianChecksToRemoval, removedWithin, sprtChain } from './sprt-chain.ts';

/** How many checks a median is searched in. */
const CHECKS_MAX = 10_000;
const RATES = [0.02, 0.05, 0.1, 0.5];
const WRONG_SHARES = [1, 0.1, 0.01];

/** The tables of docs/verification.md, as they are there: a test compares them. */
export function verificationTables(): readonly string[] {
  return [
    detectionTable(),
    hundredUnitsTable(),
    batchTable(),
    removalTable(),
    calibrationTable(),
    collusionTable(),
    deterrenceTable(),
  ];
}

function detectionTable(): string {
  return table(
    ['sampled', 'always wrong', 'wrong in 10 %', 'wrong in 1 %', 'unseen at first', 'extra work'],
    RATES.map((rate) => [
      percent(rate),
      ...WRONG_SHARES.map((wrongShare) => whole(unitsUntilDetected({ rate, wrongShare }, 0.95))),
      whole(unseenBeforeFirstCheck(rate)),
      percent(checkingOverhead(rate, HONEST_ERROR_RATE_MIN)),
    ]),
  );
}

function hundredUnitsTable(): string {
  return table(
    ['sampled', 'always wrong', 'wrong in 10 %', 'wrong in 1 %'],
    RATES.map((rate) => [
      percent(rate),
      ...WRONG_SHARES.map((wrongShare) => chance(detectionProbability({ rate, wrongShare }, 100))),
    ]),
  );
}

function batchTable(): string {
  return table(
    ['wrong, of 142', 'found by 14 checks'],
    [1, 5, 14, 28].map((bad) => [whole(bad), chance(batchDetectionProbability(142, bad, 14))]),
  );
}

function removalTable(): string {
  const plan = sprtPlan(HONEST_ERROR_RATE_MIN);
  const rate = 0.05;
  return table(
    ['checks lost', 'checks', 'median', 'removed in 1,000', 'in 10,000', 'units', 'wrong ones'],
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1].map((lost) => {
      const { checksToRemoval } = sprtChain(lost, plan);
      const median = medianChecksToRemoval(lost, plan, CHECKS_MAX);
      const removed = removedWithin(lost, plan, CHECKS_MAX);
      const units = checksToRemoval / rate;
      return [
        percent(lost),
        rounded(checksToRemoval),
        median === null ? '–' : whole(median),
        chance(removed[1_000] ?? NaN),
        chance(removed[CHECKS_MAX] ?? NaN),
        rounded(units),
        lost < 0.01 ? '–' : rounded(units * lost),
      ];
    }),
  );
}

function calibrationTable(): string {
  return table(
    ['e₀', 'loses e₀', 'loses 2 e₀', 'loses 5 e₀', 'median at 10 %', 'at 100 %'],
    [0.001, 0.005, 0.01].map((e0) => {
      const plan = sprtPlan(e0);
      return [
        percent(e0),
        ...[1, 2, 5].map((times) =>
          chance(removedWithin(e0 * times, plan, CHECKS_MAX)[CHECKS_MAX] ?? NaN),
        ),
        ...[0.1, 1].map((lost) => whole(medianChecksToRemoval(lost, plan, CHECKS_MAX) ?? NaN)),
      ];
    }),
  );
}

function collusionTable(): string {
  const pools: readonly (readonly [number, number])[] = [
    [10, 2],
    [10, 3],
    [38, 2],
    [38, 4],
    [38, 8],
    [38, 19],
  ];
  return table(
    ['operators', 'colluders', 'silent', 'wins', 'caught', 'framed'],
    pools.map(([operators, colluders]) => {
      const { silent, wins, caught, framed } = voteChances(operators, colluders);
      return [whole(operators), whole(colluders), ...[silent, wins, caught, framed].map(chance)];
    }),
  );
}

function deterrenceTable(): string {
  return table(
    ['loss by gain', 'chance needed'],
    [1, 10, 100, 1_000].map((loss) => [whole(loss), percent(deterrenceThreshold(loss))]),
  );
}

/** Markdown, as the formatter leaves it. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((_, column) =>
    Math.max(3, ...[head, ...rows].map((cells) => cells[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

/** A probability, of what may be as good as certain. */
function chance(probability: number): string {
  return probability > 0.9995 ? '> 99.9 %' : percent(probability);
}

function percent(share: number): string {
  return `${Number((share * 100).toPrecision(share < 0.001 ? 1 : share < 0.1 ? 2 : 3))} %`;
}

/** To three digits, as the chances behind it deserve. */
function rounded(value: number): string {
  return whole(Number(value.toPrecision(3)));
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

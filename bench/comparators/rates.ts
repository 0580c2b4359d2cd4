import type { Comparator } from '../../protocol/compare/comparator.ts';

/** Two results of one unit, of which it is known whether both nodes were honest. */
export interface Pair<Result> {
  /** How the second result came about. */
  readonly kind: string;
  readonly isHonest: boolean;
  readonly a: Result;
  readonly b: Result;
}

/** How often a comparator was wrong about the pairs of one kind. */
export interface Rate {
  readonly kind: string;
  readonly isHonest: boolean;
  readonly pairs: number;
  /** False alarms about honest pairs, misses of wrong ones. */
  readonly errors: number;
}

/** One rate for each kind, in the order in which the kinds come. */
export function measureRates<Result>(
  comparator: Comparator<Result>,
  pairs: readonly Pair<Result>[],
): Rate[] {
  const rates = new Map<string, Rate>();
  for (const { kind, isHonest, a, b } of pairs) {
    const before = rates.get(kind) ?? { kind, isHonest, pairs: 0, errors: 0 };
    if (before.isHonest !== isHonest) throw new Error(`${kind} is both honest and wrong`);
    const isError = comparator.compare(a, b).agrees !== isHonest;
    const errors = before.errors + (isError ? 1 : 0);
    rates.set(kind, { ...before, pairs: before.pairs + 1, errors });
  }
  return [...rates.values()];
}

/** All honest kinds in one rate, or all wrong ones. */
export function totalRate(rates: readonly Rate[], isHonest: boolean): Rate {
  const some = rates.filter((rate) => rate.isHonest === isHonest);
  const sum = (of: 'pairs' | 'errors') => some.reduce((total, rate) => total + rate[of], 0);
  return { kind: 'all', isHonest, pairs: sum('pairs'), errors: sum('errors') };
}

const CONFIDENCE = 0.95;

/**
 * The share of errors that is exceeded with 5 % confidence at most: Clopper and Pearson's upper
 * bound, one-sided, which for no error is the rule of three, about 3 / pairs.
 */
export function upperBound({ pairs, errors }: Pick<Rate, 'pairs' | 'errors'>): number {
  if (errors >= pairs) return 1;
  let [low, high] = [errors / pairs, 1];
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (atMost(errors, pairs, middle) > 1 - CONFIDENCE) low = middle;
    else high = middle;
  }
  return high;
}

/** The chance of `errors` or fewer among `pairs`, if each is wrong with probability `p`. */
function atMost(errors: number, pairs: number, p: number): number {
  let term = pairs * Math.log1p(-p);
  let sum = Math.exp(term);
  for (let count = 1; count <= errors; count++) {
    term += Math.log((pairs - count + 1) / count) + Math.log(p) - Math.log1p(-p);
    sum += Math.exp(term);
  }
  return sum;
}

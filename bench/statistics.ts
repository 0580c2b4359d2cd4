/**
 * The nearest-rank percentile: a value that was measured, never one between two.
 *
 * @param values in any order, at least one.
 * @param percent above 0 to 100.
 * @throws RangeError without values, or for another percentage.
 */
export function percentile(values: readonly number[], percent: number): number {
  const [value] = percentiles(values, [percent]);
  if (value === undefined) throw new RangeError('There is no percentile of nothing.');
  return value;
}

/** Several percentiles of the same values, which are sorted once. */
export function percentiles(values: readonly number[], percents: readonly number[]): number[] {
  // Sorts millions without calling a function for each pair.
  const sorted = Float64Array.from(values).toSorted();
  return percents.map((percent) => {
    if (!(percent > 0 && percent <= 100)) throw new RangeError(`${percent} is no percentage`);
    const value = sorted[Math.ceil((percent / 100) * sorted.length) - 1];
    if (value === undefined) throw new RangeError('There is no percentile of nothing.');
    return value;
  });
}

/** The least, the middle and the greatest of several repetitions. */
export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

/** @throws RangeError without values. */
export function spread(values: readonly number[]): Spread {
  return { min: Math.min(...values), median: percentile(values, 50), max: Math.max(...values) };
}

/** `a` by `b`, repetition by repetition, so that what slowed both at once cancels out. */
export function ratios(a: readonly number[], b: readonly number[]): number[] {
  return a.map((value, index) => value / (b[index] ?? Number.NaN));
}

/** `a` less `b`, repetition by repetition. */
export function differences(a: readonly number[], b: readonly number[]): number[] {
  return a.map((value, index) => value - (b[index] ?? Number.NaN));
}

import type { NumericResult } from '../../protocol/compare/numeric.ts';
import type { Pair } from './rates.ts';

/** The numbers themselves, since sines and cosines may differ between engines of JavaScript. */
export interface NumericData {
  /** Kind, whether both were honest, and both results. */
  readonly pairs: readonly (readonly [string, boolean, NumericResult, NumericResult])[];
}

export function numericPairs({ pairs }: NumericData): Pair<NumericResult>[] {
  return pairs.map(([kind, isHonest, a, b]) => ({ kind, isHonest, a, b }));
}

import type { InferenceResult } from '../result.ts';
import type { Comparator, ComparatorName } from './comparator.ts';
import { exactV1 } from './exact.ts';
import { imageV1, type ImageResult } from './image.ts';
import { llmV1 } from './llm.ts';
import { numericV1, type NumericResult } from './numeric.ts';

/** What each comparator compares. */
export interface ComparedResult extends Record<ComparatorName, unknown> {
  readonly exact: Uint8Array;
  readonly numeric: NumericResult;
  readonly image: ImageResult;
  readonly llm: InferenceResult;
}

/** Every version there was, since a recorded vote names the one that it was decided by. */
const COMPARATORS: {
  readonly [Name in ComparatorName]: readonly Comparator<ComparedResult[Name]>[];
} = {
  exact: [exactV1],
  numeric: [numericV1],
  image: [imageV1],
  llm: [llmV1],
};

/** The version of each that new classes and new votes use. */
export const CURRENT_VERSIONS = {
  exact: 1,
  numeric: 1,
  image: 1,
  llm: 1,
} as const satisfies Record<ComparatorName, number>;

/** Throws `RangeError` for a version that this release doesn't have. */
export function comparatorOf<Name extends ComparatorName>(
  name: Name,
  version: number,
): Comparator<ComparedResult[Name]> {
  const found = COMPARATORS[name].find((comparator) => comparator.version === version);
  if (found === undefined) throw new RangeError(`There is no comparator ${name} v${version} here.`);
  return found;
}

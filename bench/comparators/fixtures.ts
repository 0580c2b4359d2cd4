import { comparatorOf, CURRENT_VERSIONS } from '../../protocol/compare/comparators.ts';
import type { ComparedResult } from '../../protocol/compare/comparators.ts';
import type { ComparatorName } from '../../protocol/compare/comparator.ts';
import { EXACT_MADE, exactPairs, makeExactData, type ExactData } from './exact.ts';
import { IMAGE_MADE, imagePairs, makeImageData, type ImageData } from './image.ts';
import { llmPairs, type LlmData } from './llm.ts';
import { LLM_MADE } from './llm-requests.ts';
import { numericPairs, type NumericData } from './numeric.ts';
import { makeNumericData, NUMERIC_MADE } from './numeric-make.ts';
import { measureRates, type Pair, type Rate } from './rates.ts';

/** What a file of `test/fixtures/comparators` holds. */
export interface Fixture<Data> {
  readonly comparator: string;
  readonly version: number;
  /** How the second result of each kind of pair came about, for people. */
  readonly made: Readonly<Record<string, string>>;
  /** What the pairs are restored from. */
  readonly data: Data;
  /** As measured when the fixture was made. */
  readonly rates: readonly Rate[];
}

interface DataOf {
  readonly exact: ExactData;
  readonly numeric: NumericData;
  readonly image: ImageData;
  readonly llm: LlmData;
}

export const MADE: Readonly<Record<ComparatorName, Readonly<Record<string, string>>>> = {
  exact: EXACT_MADE,
  numeric: NUMERIC_MADE,
  image: IMAGE_MADE,
  llm: LLM_MADE,
};

const PAIRS: {
  readonly [Name in ComparatorName]: (data: DataOf[Name]) => Pair<ComparedResult[Name]>[];
} = { exact: exactPairs, numeric: numericPairs, image: imagePairs, llm: llmPairs };

/** Those that need no model, which are the same wherever they are made. */
export const MAKE_DATA = {
  exact: makeExactData,
  numeric: makeNumericData,
  image: makeImageData,
} as const;

/** Relative to the project. */
export function fixturePath(name: ComparatorName): string {
  return `test/fixtures/comparators/${name}-v${CURRENT_VERSIONS[name]}.json`;
}

/** What a comparator decides of a fixture's pairs today. */
export function ratesOf<Name extends ComparatorName>(
  name: Name,
  version: number,
  data: DataOf[Name],
): Rate[] {
  return measureRates<ComparedResult[Name]>(comparatorOf(name, version), PAIRS[name](data));
}

export function makeFixture<Name extends ComparatorName>(
  name: Name,
  data: DataOf[Name],
): Fixture<DataOf[Name]> {
  const version = CURRENT_VERSIONS[name];
  const rates = ratesOf(name, version, data);
  return { comparator: name, version, made: MADE[name], data, rates };
}

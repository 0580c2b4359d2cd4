import type { Rate } from './rates.ts';

/** What a file of `test/fixtures/comparators` holds. */
export interface Fixture<Encoded> {
  readonly comparator: string;
  readonly version: number;
  /** How the pairs came about, for people: a sentence for each kind. */
  readonly made: Readonly<Record<string, string>>;
  /** What the pairs are restored from; its form is the comparator's. */
  readonly data: Encoded;
  /** Measured when the fixture was made. */
  readonly rates: readonly Rate[];
}

/** Where the fixtures are, relative to the project. */
export const FIXTURES = 'test/fixtures/comparators';

export function fixturePath(comparator: string, version: number): string {
  return `${FIXTURES}/${comparator}-v${version}.json`;
}

/** The ways in which results can be compared; the comparators are in comparators.ts. */
export type ComparatorName = 'exact' | 'numeric' | 'image' | 'llm';

/** What comparing two results of one unit found. */
export interface Comparison {
  readonly agrees: boolean;
  /** In what they differ: a word or two of ours, never anything out of a result. */
  readonly reason?: string;
  /** How far they are apart, finite, in a measure that is the comparator's own; 0 if not at all. */
  readonly distance?: number;
}

/**
 * Decides whether two nodes returned the same result. `compare` is pure, symmetric and reflexive,
 * and throws for nothing that was parsed as a result of its class, whoever made it up. It need not
 * be transitive: two results that are both close to a third may be far from each other.
 *
 * A version never changes what it decides. Another tolerance is another version, and each has a
 * fixture with its measured rates (docs/comparators.md).
 */
export interface Comparator<Result> {
  readonly name: ComparatorName;
  readonly version: number;
  /**
   * `required`: only results of one equivalence class can be compared. `preferred`: a node of that
   * class is asked first, any other if need be.
   */
  readonly equivalence: 'required' | 'preferred';
  compare(a: Result, b: Result): Comparison;
}

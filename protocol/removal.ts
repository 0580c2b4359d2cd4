import type { ErrorCode } from './errors.ts';
import type { SprtVerdict } from './sprt.ts';

/**
 * So many bad proofs within `BAD_PROOFS_DAYS` remove a node at once. Nothing random makes a proof
 * bad: software that works never returns one. The other two are for a bad deployment or a return
 * that a dying disk mangled, which the operator hears of by their flags.
 */
export const BAD_PROOFS_MAX = 3;
export const BAD_PROOFS_DAYS = 7;

export type RemovalCode = Extract<
  ErrorCode,
  'node.removed_wrong_results' | 'node.removed_bad_proofs'
>;

/** What is known of a node when something new counts against it. */
export interface Conduct {
  /** Of the sequential test, for the class of the work that was checked. */
  readonly verdict: SprtVerdict;
  /** Returns that check 1 rejected within `BAD_PROOFS_DAYS`, since it was last let in. */
  readonly badProofs: number;
}

/**
 * Why a node has to leave the active pool, or null. Wrong results come first: then what the node
 * served unchecked is refunded.
 */
export function removalReason({ verdict, badProofs }: Conduct): RemovalCode | null {
  if (verdict === 'remove') return 'node.removed_wrong_results';
  return badProofs >= BAD_PROOFS_MAX ? 'node.removed_bad_proofs' : null;
}

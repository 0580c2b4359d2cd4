import { isPoeFault, isRefusal } from './dispatch.ts';
import type { ErrorCode } from './errors.ts';

/** How a check ended. */
export type VerificationOutcome =
  /** A majority has the result that was there first. */
  | 'agreed'
  /** A majority has another one. */
  | 'overruled'
  | 'no_majority'
  /** Nobody independent could be asked: only the commitment was checked. */
  | 'hash_only';

/** Where a vote stands; `undecided` without a majority, or with nobody to compare with. */
export type Side = 'majority' | 'minority' | 'undecided';

export type VoteDecision =
  | { readonly kind: 'undecided' }
  | {
      readonly kind: 'decided';
      readonly outcome: VerificationOutcome;
      /** Index of the vote whose result stands; null when none does. */
      readonly winner: number | null;
      /** Of each vote, in their order. */
      readonly sides: readonly Side[];
    };

/**
 * How often a unit may be checked (design §5, §7), beside its own dispatches. A lost or rejected
 * checker gives no vote, and another is asked in its place.
 */
export const CHECK_BUDGET = { votesMax: 3, poeFaultsMax: 2, otherLossesMax: 2 } as const;

/** Whether another node may be asked, after checks that gave no vote for these reasons. */
export function mayAskAgain(failures: readonly ErrorCode[]): boolean {
  const faults = failures.filter(isPoeFault).length;
  return (
    faults <= CHECK_BUDGET.poeFaultsMax && failures.length - faults <= CHECK_BUDGET.otherLossesMax
  );
}

/**
 * Step 7, check 2 (spec step 07): two results are compared, and if they disagree a third decides.
 * All pairs are compared, because tolerance isn't transitive: with a ~ b and b ~ c the result that
 * most others agree with stands, though a and c disagree. The first vote stands wherever it agrees
 * with that one.
 *
 * @param agrees whether votes i and j agree; the first vote is that of the attempt to check.
 * @param isLast whether nobody else can be asked.
 * @throws RangeError without a vote, or with more than there may be.
 */
export function decideVote(agrees: readonly (readonly boolean[])[], isLast: boolean): VoteDecision {
  const votes = agrees.length;
  if (votes < 1 || votes > CHECK_BUDGET.votesMax) throw new RangeError(`${votes} votes`);
  const over = isLast || votes === CHECK_BUDGET.votesMax;
  if (votes === 1) return over ? ended('hash_only', 0, ['undecided']) : { kind: 'undecided' };
  const support = agrees.map((row) => row.filter(Boolean).length);
  const most = Math.max(...support);
  if (most * 2 <= votes)
    return over
      ? ended(
          'no_majority',
          null,
          agrees.map(() => 'undecided'),
        )
      : { kind: 'undecided' };
  const canonical = support.indexOf(most);
  const withCanonical = agrees[canonical] ?? [];
  const sides = withCanonical.map((agreesWith): Side => (agreesWith ? 'majority' : 'minority'));
  return withCanonical[0] ? ended('agreed', 0, sides) : ended('overruled', canonical, sides);
}

/**
 * Whether two checkers have said, in the same words, that the request can't be run: then the first
 * node has returned what there can't be. They are of two operators, or one could deny all answers.
 */
export function isRefusedTwice(failures: readonly ErrorCode[]): boolean {
  return failures.some((code, at) => isRefusal(code) && failures.includes(code, at + 1));
}

/** What was refused twice has no result that stands. */
export function refused(votes: number): VoteDecision & { readonly kind: 'decided' } {
  return ended('no_majority', null, Array<Side>(votes).fill('undecided'));
}

function ended(
  outcome: VerificationOutcome,
  winner: number | null,
  sides: readonly Side[],
): VoteDecision & { readonly kind: 'decided' } {
  return { kind: 'decided', outcome, winner, sides };
}

import { ApplicationFailure } from '@temporalio/activity';
import { EnvelopeError } from '../crypto/errors.ts';
import type { Ring, X25519Key } from '../crypto/keys.ts';
import { openReturn, readdressReturn } from '../crypto/return.ts';
import { inTransaction, type Database, type Transaction } from '../prisma/client.ts';
import { announceOutcome } from '../prisma/outcomes.ts';
import { comparatorOf } from '../protocol/compare/comparators.ts';
import type { ErrorCode } from '../protocol/errors.ts';
import type { NodeReturn } from '../protocol/execute.ts';
import type { NodeId, UnitId } from '../protocol/ids.ts';
import type { AcceptedInference } from '../protocol/receive.ts';
import { parseResult, type InferenceResult } from '../protocol/result.ts';
import type { TokenUsage } from '../protocol/settle.ts';
import { decideVote, refused, type Side, type VerificationOutcome } from '../protocol/vote.ts';
import { WORKLOAD_CLASSES } from '../protocol/workload.ts';
import { flagNode, recordFailure } from './events.ts';
import type { Assignment } from './schedule.ts';
import { delivered } from './store-return.ts';
import { observeVote, suspect } from './trust.ts';

/** A return that passed check 1. */
export interface AcceptedVote {
  readonly dispatch: number;
  readonly node: Assignment;
  readonly returned: NodeReturn;
}

export interface VoteInput {
  readonly unitId: UnitId;
  /** The one to check first, then those of the nodes that checked it. */
  readonly votes: readonly AcceptedVote[];
  /** Whether nobody else can be asked. */
  readonly isLast: boolean;
  /** Whether two operators say that the request can't be run at all, which the first one has. */
  readonly isRefused?: boolean;
  /** Whether the first result is out: then it is what the requester has, whatever is voted. */
  readonly isDelivered: boolean;
  readonly request: Pick<
    AcceptedInference,
    'parameters' | 'requesterKey' | 'price' | 'reservedWei'
  >;
}

export type VoteResult =
  /** One more vote is needed. */
  | { readonly kind: 'undecided' }
  | {
      readonly kind: 'decided';
      readonly outcome: VerificationOutcome;
      /** Dispatch of the result that stands; null when none does. */
      readonly winner: number | null;
      /** Of the result that stands. */
      readonly usage: TokenUsage | null;
      /** Nodes that the vote has removed from the pool. */
      readonly removed: readonly NodeId[];
    };

export interface VoteDependencies {
  readonly database: Database;
  readonly returnRing: Ring<X25519Key>;
}

/**
 * Step 7, check 2 (spec step 07): compares the results of all who computed the unit, by the
 * comparator of its class, and decides once it can. What is decided is written down with all that
 * follows, in one transaction and once: votes, flags, trust, removals, and the result, if it was
 * held back. It opens the results in memory; nothing of them is logged or kept in the clear.
 */
export async function vote(dependencies: VoteDependencies, input: VoteInput): Promise<VoteResult> {
  const { unitId, votes, isLast, request } = input;
  const { name, version } = WORKLOAD_CLASSES[request.parameters.workloadClass].comparator;
  const comparator = comparatorOf(name, version);
  const results = await Promise.all(
    votes.map(({ returned }) => opened(returned, dependencies.returnRing)),
  );
  const agrees = results.map((a) => results.map((b) => comparator.compare(a, b).agrees));
  const decision = input.isRefused ? refused(votes.length) : decideVote(agrees, isLast);
  if (votes.length > 1 && decision.kind === 'undecided')
    await report(dependencies.database, unitId, votes.at(-1), 'validate.disagreement');
  if (decision.kind === 'undecided') return decision;
  const { outcome, winner, sides } = decision;
  const standing = winner === null ? undefined : votes[winner];
  const removed = await inTransaction(dependencies.database, async (transaction) => {
    const isNew = await transaction.$executeRaw`
      INSERT INTO verification (unit_id, outcome, winner, comparator)
      VALUES (${unitId}, ${outcome}, ${standing?.dispatch ?? null},
              ${`${comparator.name}/${comparator.version}`})
      ON CONFLICT (unit_id) DO NOTHING`;
    if (isNew === 0) return [];
    // What ends the request is written down by Settle.
    if (outcome === 'hash_only') await report(transaction, unitId, votes[0], 'validate.hash_only');
    const gone = await record(transaction, input, sides);
    const result = winner === null ? undefined : results[winner];
    if (standing && result && !input.isDelivered)
      await deliver(transaction, dependencies.returnRing, input, standing, result);
    return gone;
  });
  const usage = winner === null ? null : (results[winner]?.usage ?? null);
  return { kind: 'decided', outcome, winner: standing?.dispatch ?? null, usage, removed };
}

/** @throws ApplicationFailure `coordinator.internal`, final, when the ring lost the return key. */
async function opened(returned: NodeReturn, ring: Ring<X25519Key>): Promise<InferenceResult> {
  try {
    const { resultBytes } = await openReturn(returned.sealedResult, ring);
    return parseResult(resultBytes);
  } catch (error) {
    if (!(error instanceof EnvelopeError)) throw error;
    throw ApplicationFailure.nonRetryable(error.message, 'coordinator.internal');
  }
}

/** @returns the nodes that were removed. */
async function record(
  transaction: Transaction,
  { unitId, votes, isRefused = false, request }: VoteInput,
  sides: readonly Side[],
): Promise<readonly NodeId[]> {
  const removed: NodeId[] = [];
  const cast = votes.map((each, index) => ({ ...each, side: sides[index] ?? 'undecided' }));
  // In one order, or two votes with the same nodes could wait for each other.
  for (const { dispatch, node, side } of cast.toSorted(byNode)) {
    const { nodeId } = node;
    await transaction.$executeRaw`
      INSERT INTO vote (unit_id, dispatch, node_id, side)
      VALUES (${unitId}, ${dispatch}, ${nodeId}, ${side})`;
    const flag = flagOf(side, votes.length > 1 || isRefused);
    if (flag) await flagNode(transaction, { unitId, dispatch, code: flag }, nodeId);
    if (flag === 'validate.no_majority') await suspect(transaction, nodeId);
    if (side === 'undecided') continue;
    if (side === 'minority')
      await transaction.$executeRaw`
        UPDATE dispatch SET forfeits_uptime = TRUE
        WHERE unit_id = ${unitId} AND dispatch = ${dispatch}`;
    const { workloadClass } = request.parameters;
    if (await observeVote(transaction, nodeId, workloadClass, side === 'majority'))
      removed.push(nodeId);
  }
  return removed;
}

/** Without a majority everybody is flagged for review: at most one of them is right. */
function flagOf(side: Side, isDisputed: boolean): ErrorCode | null {
  if (side === 'minority') return 'validate.minority';
  return side === 'undecided' && isDisputed ? 'validate.no_majority' : null;
}

function byNode(a: AcceptedVote, b: AcceptedVote): number {
  return a.node.nodeId < b.node.nodeId ? -1 : 1;
}

/** The result that was held back until the vote, or the one that takes its place. */
async function deliver(
  transaction: Transaction,
  ring: Ring<X25519Key>,
  { unitId, request }: VoteInput,
  { dispatch, node, returned }: AcceptedVote,
  result: InferenceResult,
): Promise<void> {
  const sealedResult = await readdressReturn(returned.sealedResult, ring, request.requesterKey);
  const accepted = { dispatch, nodeId: node.nodeId, returned, result };
  await transaction.$executeRaw`${delivered(unitId, accepted, sealedResult, request)}`;
  await announceOutcome(transaction, unitId);
}

async function report(
  transaction: Pick<Transaction, '$executeRaw'>,
  unitId: UnitId,
  about: AcceptedVote | undefined,
  code: ErrorCode,
): Promise<void> {
  if (about)
    await recordFailure(transaction, { unitId, dispatch: about.dispatch, code }, about.node.nodeId);
}

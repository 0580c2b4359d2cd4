import { CancellationScope, isCancellation } from '@temporalio/workflow';
import type { CheckerOrder } from '../activities/checkers.ts';
import type { AcceptedVote, VoteInput } from '../activities/vote.ts';
import { isRefusal, redispatchDeadlineMs } from '../protocol/dispatch.ts';
import type { ErrorCode } from '../protocol/errors.ts';
import type { NodeId } from '../protocol/ids.ts';
import { isComparable } from '../protocol/compare/equivalence.ts';
import { isRefusedTwice, mayAskAgain } from '../protocol/vote.ts';
import { workloadClass } from '../protocol/workload.ts';
import { dispatched, type UnitRun } from './attempt.ts';
import { steps } from './activities.ts';
import { stepFailureCode } from './failures.ts';
import { UNSEEN, type Progress } from './progress.ts';
import { scheduled } from './schedule.ts';
import type { UnitOutcome } from './unit.ts';

interface CheckOptions {
  /** Nodes that have had the unit. */
  readonly usedNodes: readonly NodeId[];
  readonly order: CheckerOrder;
  readonly progress: Progress;
}

/**
 * Step 7, check 2 (spec step 07): others compute the unit again until the results are decided on.
 * What was delivered before can't be stopped any more, so nothing but its decision ends that check.
 *
 * @param first the attempt to check.
 * @param accepted what the unit ends as, should its result stand.
 */
export function checked(
  unit: UnitRun,
  first: AcceptedVote,
  accepted: UnitOutcome,
  options: CheckOptions,
): Promise<UnitOutcome> {
  const isDelivered = unit.request.delivery !== 'strict';
  const check = () => decided(unit, first, accepted, isDelivered, options);
  return isDelivered ? CancellationScope.nonCancellable(check) : check();
}

async function decided(
  unit: UnitRun,
  first: AcceptedVote,
  accepted: UnitOutcome,
  isDelivered: boolean,
  { usedNodes, order, progress }: CheckOptions,
): Promise<UnitOutcome> {
  const at = { dispatch: first.dispatch, node: first.node.nodeId };
  const beganAtMs = Date.now();
  progress.running('validate', { ...at, note: 'random check: under way' });
  const votes = [first];
  const failures: ErrorCode[] = [];
  const used = [...usedNodes];
  const operators = [first.node.operatorId];
  const { engine } = first.node;
  for (let { dispatch } = first; ;) {
    const answer: Answer = mayAskAgain(failures)
      ? await asked(unit, { dispatch: dispatch + 1, used, operators, engine, order })
      : { kind: 'nobody' };
    const isLast = answer.kind === 'nobody';
    if (!isLast) dispatch += 1;
    const soFar = { dispatches: dispatch, isSampled: true } as const;
    if (answer.kind === 'cancelled') {
      progress.stopped('execute.cancelled');
      return { state: 'cancelled', code: 'execute.cancelled', ...soFar };
    }
    if (answer.kind === 'failed') failures.push(answer.code);
    const isRefused = isRefusedTwice(failures);
    if (answer.kind === 'failed' && !isRefused) continue;
    if (answer.kind === 'vote') votes.push(answer.vote);
    const result = await counted(unit, votes, { isLast, isDelivered, isRefused });
    if (result.kind === 'undecided') continue;
    const { outcome, winner, usage } = result;
    const note = `random check: ${outcome}`;
    progress.done('validate', Date.now() - beganAtMs, { ...at, note });
    if (outcome === 'no_majority')
      return { state: 'failed', code: 'validate.no_majority', ...soFar };
    if (outcome !== 'overruled') return { ...accepted, ...soFar };
    if (isDelivered) return { state: 'invalidated', code: 'validate.overruled', ...soFar };
    const node = votes.find((vote) => vote.dispatch === winner)?.node;
    return { state: 'completed', ...soFar, ...(node && { node }), ...(usage && { usage }) };
  }
}

/** What came of asking a node to check. */
type Answer =
  | { readonly kind: 'vote'; readonly vote: AcceptedVote }
  | { readonly kind: 'failed'; readonly code: ErrorCode }
  | { readonly kind: 'cancelled' }
  | { readonly kind: 'nobody' };

interface Ask {
  readonly dispatch: number;
  /** Grows by the node that is asked. */
  readonly used: NodeId[];
  /** Grows by the operator whose node has said what it has to say of the unit. */
  readonly operators: string[];
  /** Of the first attempt. */
  readonly engine: string | undefined;
  readonly order: CheckerOrder;
}

/** Steps 3–7 once more, on a node of another operator that can't tell it from any other work. */
async function asked(unit: UnitRun, ask: Ask): Promise<Answer> {
  const { dispatch, used } = ask;
  try {
    const node = await checker(unit, ask);
    if (node === null) return { kind: 'nobody' };
    used.push(node.nodeId);
    const attempt = await dispatched(unit, { dispatch, node, isCheck: true }, UNSEEN);
    if (attempt.kind === 'cancelled') return attempt;
    if (attempt.kind === 'accepted' || isRefusal(attempt.code)) ask.operators.push(node.operatorId);
    if (attempt.kind === 'accepted')
      return { kind: 'vote', vote: { dispatch, node, returned: attempt.returned } };
    const { code } = attempt;
    const { unitId, request } = unit;
    const { parameters, modelDigest } = request;
    await CancellationScope.nonCancellable(() =>
      steps.reportFailure({
        unitId,
        dispatch,
        nodeId: node.nodeId,
        code,
        usedNodes: used,
        request: { parameters, modelDigest },
      }),
    );
    return { kind: 'failed', code };
  } catch (error) {
    if (isCancellation(error)) throw error;
    // What was delivered stays delivered, whatever the check comes to.
    return { kind: 'failed', code: stepFailureCode(error) };
  }
}

/** A node of the same equivalence class; of another one only where results can be compared. */
async function checker(unit: UnitRun, { dispatch, used, operators, engine: first, order }: Ask) {
  const { request } = unit;
  const usedOperators = [...operators];
  const deadlineAtMs = redispatchDeadlineMs(request, Date.now());
  const ask = (engine: string | null) =>
    scheduled(
      unit,
      { dispatch, usedNodes: used, deadlineAtMs, check: { usedOperators, engine, order } },
      UNSEEN,
    );
  const { equivalence } = workloadClass(request.parameters.workloadClass);
  const same = isComparable(first) ? await ask(first) : null;
  return same ?? (equivalence === 'preferred' ? ask(null) : null);
}

function counted(
  { unitId, request }: UnitRun,
  votes: readonly AcceptedVote[],
  how: Pick<VoteInput, 'isLast' | 'isDelivered' | 'isRefused'>,
) {
  const { parameters, requesterKey, price, reservedWei } = request;
  return CancellationScope.nonCancellable(() =>
    steps.vote.executeWithOptions({ summary: '7 Validate: vote' }, [
      {
        unitId,
        votes,
        ...how,
        request: { parameters, requesterKey, price, reservedWei },
      },
    ]),
  );
}

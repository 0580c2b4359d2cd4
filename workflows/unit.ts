import {
  CancellationScope,
  condition,
  defineSignal,
  isCancellation,
  setHandler,
} from '@temporalio/workflow';
import type { DispatchResult } from '../activities/dispatch.ts';
import type { Assignment } from '../activities/schedule.ts';
import type { TakeCancelledResult } from '../activities/take-cancelled.ts';
import { afterFailure, redispatchDeadlineMs } from '../protocol/dispatch.ts';
import { withNodeRecipient, wrapRecipient } from '../protocol/envelope.ts';
import type { ErrorCode } from '../protocol/errors.ts';
import { reportedTimes, type NodeReturn } from '../protocol/execute.ts';
import { shortId, type NodeId, type UnitId } from '../protocol/ids.ts';
import type { FinalState } from '../protocol/lifecycle.ts';
import type { AcceptedInference } from '../protocol/receive.ts';
import type { TokenUsage } from '../protocol/settle.ts';
import { nodeActivities, steps } from './activities.ts';
import { executeFailureCode } from './failures.ts';
import type { Progress } from './progress.ts';

/** How a unit ended. `usage` and `node` belong to the accepted attempt, or the cancelled one. */
export interface UnitOutcome {
  readonly state: FinalState;
  readonly code?: ErrorCode;
  readonly usage?: TokenUsage;
  readonly node?: Assignment;
  readonly dispatches: number;
}

type Attempt =
  | { readonly kind: 'accepted'; readonly usage: TokenUsage }
  | { readonly kind: 'cancelled'; readonly usage?: TokenUsage }
  | { readonly kind: 'failed'; readonly code: ErrorCode };

/** How long a cancelled request waits for its node to return what it made. */
const CANCEL_MS_MAX = 1_000;

/** Sent to a waiting unit when capacity appeared. It is only a hint: Schedule decides. */
export const wakeSignal = defineSignal('wake');

/** Steps 3–7 for one unit: dispatch until a return is accepted or the budget is used up. */
export async function serveUnit(
  unitId: UnitId,
  request: AcceptedInference,
  progress: Progress,
): Promise<UnitOutcome> {
  let woken = false;
  setHandler(wakeSignal, () => void (woken = true));
  const failures: ErrorCode[] = [];
  const usedNodes: NodeId[] = [];
  let { deadlineAtMs } = request;

  for (let dispatch = 1; ; dispatch++) {
    // 3 Schedule
    const node = await scheduled(dispatch);
    if (node === null)
      return { state: 'failed', code: 'schedule.deadline_elapsed', dispatches: dispatch - 1 };
    usedNodes.push(node.nodeId);
    // 4 Dispatch … 7 Validate
    const attempt = await dispatched(unitId, dispatch, node, request, progress);
    if (attempt.kind === 'accepted')
      return { state: 'completed', usage: attempt.usage, node, dispatches: dispatch };
    if (attempt.kind === 'cancelled')
      return {
        ...attempt,
        state: 'cancelled',
        code: 'execute.cancelled',
        node,
        dispatches: dispatch,
      };

    const { code } = attempt;
    failures.push(code);
    deadlineAtMs = redispatchDeadlineMs(request, Date.now());
    // What a node did wrong is written down, whoever cancels meanwhile.
    const pool = await CancellationScope.nonCancellable(() =>
      steps.reportFailure({
        unitId,
        dispatch,
        nodeId: node.nodeId,
        code,
        usedNodes,
        request: { parameters: request.parameters, modelDigest: request.modelDigest },
      }),
    );
    const verdict = afterFailure(failures, pool?.othersExist);
    if (verdict.kind === 'end') return { state: verdict.state, code, dispatches: dispatch };
  }

  /** Holds the unit until a node can take it; null when its deadline elapsed first. */
  async function scheduled(dispatch: number): Promise<Assignment | null> {
    for (;;) {
      woken = false;
      progress.running('schedule', { dispatch });
      const answer = await steps.schedule.executeWithOptions({ summary: '3 Schedule' }, [
        { unitId, dispatch, usedNodes, request: { ...schedulable(request), deadlineAtMs } },
      ]);
      if (answer.kind === 'assigned') {
        progress.done('schedule', answer.elapsedMs, { dispatch, node: answer.node.nodeId });
        return answer.node;
      }
      const remainingMs = deadlineAtMs - Date.now();
      if (answer.kind === 'elapsed' || remainingMs <= 0) {
        progress.failed('schedule', { dispatch, note: 'schedule.deadline_elapsed' });
        return null;
      }
      progress.waiting('schedule', { dispatch });
      await condition(() => woken, remainingMs);
    }
  }
}

/** Steps 4–7 for one attempt on one node. */
async function dispatched(
  unitId: UnitId,
  dispatch: number,
  node: Assignment,
  request: AcceptedInference,
  progress: Progress,
): Promise<Attempt> {
  const at = { dispatch, node: node.nodeId };
  // 4 Dispatch
  progress.running('dispatch', at);
  const sealed = await steps.dispatch.executeWithOptions({ summary: '4 Dispatch' }, [
    { unitId, dispatch, node, request: sealable(request) },
  ]);
  progress.done('dispatch', sealed.elapsedMs, at);
  const { attemptNumber } = sealed;
  // 5 Execute and 6 Proof-of-Execution, on the node
  progress.running('execute', at);
  const execution = execute(dispatch, node, request, sealed);
  const ended = await endOf(execution);
  if (ended.kind === 'cancelled') {
    progress.stopped('execute.cancelled');
    const take = (returned: NodeReturn) =>
      steps.takeCancelled({
        unitId,
        dispatch,
        attemptNumber,
        node,
        returned,
        request: checkable(request),
      });
    return CancellationScope.nonCancellable(() => cancelled(execution, take));
  }
  if (ended.kind === 'failed') {
    progress.failed('execute', { ...at, note: ended.code });
    return ended;
  }
  const { returned } = ended;
  const times = reportedTimes(returned);
  progress.done('execute', times.executeElapsedMs, at);
  progress.done('prove', times.proveElapsedMs, at);
  // 7 Validate: it delivers, so a cancellation that comes now comes too late.
  progress.running('validate', at);
  const verdict = await CancellationScope.nonCancellable(() =>
    steps.validate.executeWithOptions({ summary: '7 Validate' }, [
      { unitId, dispatch, attemptNumber, node, returned, request: checkable(request) },
    ]),
  );
  if (verdict.kind === 'rejected') {
    progress.failed('validate', { ...at, note: verdict.code });
    return { kind: 'failed', code: verdict.code };
  }
  progress.done('validate', verdict.elapsedMs, at);
  return { kind: 'accepted', usage: verdict.usage };
}

/** Starts the node's steps. */
function execute(
  dispatch: number,
  node: Assignment,
  request: AcceptedInference,
  sealed: DispatchResult,
): Promise<NodeReturn> {
  const { parameters, requesterKey, payloadBytes } = request;
  const { deadlineSeconds } = parameters;
  const activities = nodeActivities(node.nodeId, deadlineSeconds, payloadBytes);
  return activities.execute.executeWithOptions({ summary: executeSummary(dispatch, node) }, [
    {
      envelope: withNodeRecipient(request.envelope, sealed.encryptedKey, sealed.kid),
      ticket: sealed.ticket,
      parameters,
      requesterKey,
    },
  ]);
}

type ExecutionEnd =
  | { readonly kind: 'returned'; readonly returned: NodeReturn }
  | Exclude<Attempt, { kind: 'accepted' }>;

/** What happens first: a return, a failure, or the requester's cancellation. */
async function endOf(execution: Promise<NodeReturn>): Promise<ExecutionEnd> {
  const scope = CancellationScope.current();
  try {
    const returned = await Promise.race([execution, scope.cancelRequested]);
    // Both at once: the node may have been told already, and so have cut its answer short.
    return scope.consideredCancelled ? { kind: 'cancelled' } : { kind: 'returned', returned };
  } catch (error) {
    if (scope.consideredCancelled && isCancellation(error)) return { kind: 'cancelled' };
    return { kind: 'failed', code: executeFailureCode(error) };
  }
}

/**
 * The requester cancelled: what the node made until then is charged, if it proves it soon. A node
 * that says nothing can't hold up the end.
 */
async function cancelled(
  execution: Promise<NodeReturn>,
  take: (returned: NodeReturn) => Promise<TakeCancelledResult>,
): Promise<Attempt> {
  let late: NodeReturn | undefined;
  let isOver = false;
  void execution.then(
    (returned) => {
      late = returned;
      isOver = true;
    },
    // It stopped without a proof, whatever it says.
    () => void (isOver = true),
  );
  await condition(() => isOver, CANCEL_MS_MAX);
  if (late === undefined) return { kind: 'cancelled' };
  const taken = await take(late);
  return { kind: 'cancelled', ...(taken.kind === 'taken' ? { usage: taken.usage } : {}) };
}

function executeSummary(dispatch: number, node: Assignment): string {
  return `5 Execute, 6 Proof-of-Execution · attempt ${dispatch} on ${shortId(node.nodeId)}`;
}

// Each step gets what it needs and no more: the payload isn't copied through history again.
function schedulable(request: AcceptedInference) {
  const { parameters, modelDigest, complexity, acceptedAtMs, payloadBytes } = request;
  return { parameters, modelDigest, complexity, acceptedAtMs, payloadBytes };
}

function sealable(request: AcceptedInference) {
  const { parameters, seed, envelope } = request;
  return { parameters, seed, wrappedKey: wrapRecipient(envelope) };
}

function checkable(request: AcceptedInference) {
  const { parameters, modelDigest, seed, payloadBytes, requesterKey, price, reservedWei } = request;
  return { parameters, modelDigest, seed, payloadBytes, requesterKey, price, reservedWei };
}

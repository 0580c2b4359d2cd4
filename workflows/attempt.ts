import { CancellationScope, condition, isCancellation } from '@temporalio/workflow';
import type { CheckerOrder } from '../activities/checkers.ts';
import type { DispatchResult } from '../activities/dispatch.ts';
import type { Assignment } from '../activities/schedule.ts';
import type { TakeCancelledResult } from '../activities/take-cancelled.ts';
import { withNodeRecipient, wrapRecipient } from '../protocol/envelope.ts';
import type { ErrorCode } from '../protocol/errors.ts';
import { reportedTimes, type NodeReturn } from '../protocol/execute.ts';
import { shortId, type UnitId } from '../protocol/ids.ts';
import type { AcceptedInference } from '../protocol/receive.ts';
import type { TokenUsage } from '../protocol/settle.ts';
import { nodeActivities, steps } from './activities.ts';
import { executeFailureCode } from './failures.ts';
import type { StepProgress } from './progress.ts';

/** One unit on its way through steps 3 to 7. */
export interface UnitRun {
  readonly unitId: UnitId;
  readonly request: AcceptedInference;
  /** Set by the signal `wake` while the unit waits. */
  readonly wake: { isSet: boolean };
}

/** Which attempt at a unit, and on which node. */
export interface AttemptAt {
  readonly dispatch: number;
  readonly node: Assignment;
  /** Whether it checks an earlier attempt; its node can't tell. */
  readonly isCheck: boolean;
}

export type Attempt =
  | {
      readonly kind: 'accepted';
      readonly usage: TokenUsage;
      readonly returned: NodeReturn;
      /** There if it was drawn to be checked. */
      readonly checkerOrder?: CheckerOrder;
    }
  | { readonly kind: 'cancelled'; readonly usage?: TokenUsage }
  | { readonly kind: 'failed'; readonly code: ErrorCode };

/** How long a cancelled request waits for its node to return what it made. */
const CANCEL_MS_MAX = 1_000;

/** Steps 4–7 for one attempt on one node. */
export async function dispatched(
  { unitId, request }: UnitRun,
  { dispatch, node, isCheck }: AttemptAt,
  progress: StepProgress,
): Promise<Attempt> {
  const at = { dispatch, node: node.nodeId };
  const asCheck = isCheck ? { isCheck } : {};
  // 4 Dispatch
  progress.running('dispatch', at);
  const sealed = await steps.dispatch.executeWithOptions({ summary: '4 Dispatch' }, [
    { unitId, dispatch, node, request: sealable(request), ...asCheck },
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
      {
        unitId,
        dispatch,
        attemptNumber,
        node,
        returned,
        ...asCheck,
        request: checkable(request),
      },
    ]),
  );
  if (verdict.kind === 'rejected') {
    progress.failed('validate', { ...at, note: verdict.code });
    return { kind: 'failed', code: verdict.code };
  }
  progress.done('validate', verdict.elapsedMs, at);
  const { usage, checkerOrder } = verdict;
  return { kind: 'accepted', usage, returned, ...(checkerOrder ? { checkerOrder } : {}) };
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
    // The check of what was delivered is in a scope that goes on.
    const returned = await (scope.cancellable
      ? Promise.race([execution, scope.cancelRequested])
      : execution);
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
function sealable(request: AcceptedInference) {
  const { parameters, seed, envelope } = request;
  return { parameters, seed, wrappedKey: wrapRecipient(envelope) };
}

function checkable(request: AcceptedInference) {
  const { parameters, modelDigest, seed, payloadBytes, requesterKey, price, reservedWei } = request;
  const { delivery } = request;
  return {
    parameters,
    modelDigest,
    seed,
    payloadBytes,
    requesterKey,
    price,
    reservedWei,
    ...(delivery ? { delivery } : {}),
  };
}

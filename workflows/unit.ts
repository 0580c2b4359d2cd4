import { CancellationScope } from '@temporalio/workflow';
import type { Assignment } from '../activities/schedule.ts';
import { afterFailure, redispatchDeadlineMs } from '../protocol/dispatch.ts';
import type { ErrorCode } from '../protocol/errors.ts';
import type { NodeId, UnitId } from '../protocol/ids.ts';
import type { FinalState } from '../protocol/lifecycle.ts';
import type { AcceptedInference } from '../protocol/receive.ts';
import type { TokenUsage } from '../protocol/settle.ts';
import { dispatched, type UnitRun } from './attempt.ts';
import { steps } from './activities.ts';
import type { Progress } from './progress.ts';
import { awaitWake, scheduled } from './schedule.ts';
import { checked } from './validate.ts';

/** How a unit ended. `usage` and `node` belong to the accepted attempt, or the cancelled one. */
export interface UnitOutcome {
  readonly state: FinalState;
  readonly code?: ErrorCode;
  readonly usage?: TokenUsage;
  readonly node?: Assignment;
  /** Checks included. */
  readonly dispatches: number;
  /** Whether it was drawn to be checked. */
  readonly isSampled?: true;
}

/** Steps 3–7 for one unit: dispatch until a return is accepted or the budget is used up. */
export async function serveUnit(
  unitId: UnitId,
  request: AcceptedInference,
  progress: Progress,
): Promise<UnitOutcome> {
  const unit: UnitRun = { unitId, request, wake: awaitWake() };
  const failures: ErrorCode[] = [];
  const usedNodes: NodeId[] = [];
  let { deadlineAtMs } = request;

  for (let dispatch = 1; ; dispatch++) {
    // 3 Schedule
    const node = await scheduled(unit, { dispatch, usedNodes, deadlineAtMs }, progress);
    if (node === null)
      return { state: 'failed', code: 'schedule.deadline_elapsed', dispatches: dispatch - 1 };
    usedNodes.push(node.nodeId);
    // 4 Dispatch … 7 Validate, check 1
    const attempt = await dispatched(unit, { dispatch, node, isCheck: false }, progress);
    if (attempt.kind === 'accepted') {
      const { usage, returned, checkerOrder } = attempt;
      const accepted: UnitOutcome = { state: 'completed', usage, node, dispatches: dispatch };
      if (checkerOrder === undefined) return accepted;
      // 7 Validate, check 2
      return checked(unit, { dispatch, node, returned }, accepted, {
        usedNodes,
        order: checkerOrder,
        progress,
      });
    }
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
}

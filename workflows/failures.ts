import {
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  TimeoutFailure,
} from '@temporalio/workflow';
import { isErrorCode, type ErrorCode } from '../protocol/errors.ts';
import { reportedCode } from '../protocol/execute.ts';

const TIMEOUT_CODES: Partial<Record<NonNullable<TimeoutFailure['timeoutType']>, ErrorCode>> = {
  SCHEDULE_TO_START: 'dispatch.node_unreachable',
  SCHEDULE_TO_CLOSE: 'dispatch.node_unreachable',
  START_TO_CLOSE: 'node.deadline_exceeded',
  HEARTBEAT: 'execute.node_lost',
};

/**
 * The code of an `execute` that didn't return.
 *
 * @throws the error itself when it isn't about the activity, cancellation included.
 */
export function executeFailureCode(error: unknown): ErrorCode {
  if (!(error instanceof ActivityFailure)) throw error;
  const { cause } = error;
  if (cause instanceof CancelledFailure) {
    // Only the requester's cancellation ends a request; a node may claim one that nobody asked for.
    if (CancellationScope.current().consideredCancelled) throw error;
    return 'execute.node_lost';
  }
  if (cause instanceof TimeoutFailure && cause.timeoutType)
    return TIMEOUT_CODES[cause.timeoutType] ?? 'execute.node_lost';
  if (cause instanceof ApplicationFailure) return reportedCode(cause.type);
  return 'execute.node_lost';
}

/** The code of one of the coordinator's own steps that gave up. */
export function stepFailureCode(error: unknown): ErrorCode {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  // Anything else is a bug: it holds the workflow, with the reason in its history, until mended.
  if (!(cause instanceof ApplicationFailure || cause instanceof TimeoutFailure)) throw error;
  const type = cause instanceof ApplicationFailure ? cause.type : null;
  return type && isErrorCode(type) ? type : 'coordinator.internal';
}

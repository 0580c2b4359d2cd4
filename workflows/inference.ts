import { defineSearchAttributeKey } from '@temporalio/common';
import {
  CancellationScope,
  defineQuery,
  isCancellation,
  setHandler,
  upsertSearchAttributes,
} from '@temporalio/workflow';
import type { ErrorCode } from '../protocol/errors.ts';
import { aggregate } from '../protocol/aggregate.ts';
import type { FinalState, StepRecord } from '../protocol/lifecycle.ts';
import type { AcceptedInference } from '../protocol/receive.ts';
import { segment } from '../protocol/segment.ts';
import { steps } from './activities.ts';
import { stepFailureCode } from './failures.ts';
import { Progress } from './progress.ts';
import { serveUnit, type UnitOutcome } from './unit.ts';

/** How a request ended; business outcomes are values, so the workflow itself completes. */
export interface InferenceOutcome {
  readonly state: FinalState;
  readonly code?: ErrorCode;
  readonly dispatches: number;
  readonly node?: string;
  readonly chargedWei: string;
}

const OUTCOME = defineSearchAttributeKey('plxOutcome', 'KEYWORD');
const NODE = defineSearchAttributeKey('plxNode', 'KEYWORD');
const OPERATOR = defineSearchAttributeKey('plxOperator', 'KEYWORD');
const SAMPLED = defineSearchAttributeKey('plxSampled', 'BOOL');
const DISPATCHES = defineSearchAttributeKey('plxDispatches', 'INT');

/** The nine steps as they are at this moment; asking leaves no trace in the history. */
export const stepsQuery = defineQuery<StepRecord[]>('steps');

/**
 * One inference request, from the moment Receive accepted it (spec §3.0). It is served whole by one
 * node, so Segment and Aggregate are skipped.
 */
export async function inference(request: AcceptedInference): Promise<InferenceOutcome> {
  const { requestId, parameters } = request;
  const progress = new Progress(request);
  setHandler(stepsQuery, () => progress.records());
  // 1 Receive happened at intake: credit is reserved and the id allocated.
  progress.done('receive', request.receiveElapsedMs);
  // 2 Segment
  const [unitId] = segment(requestId, parameters.workloadClass).units;
  progress.skipped('segment');
  // 3 Schedule, 4 Dispatch, 5 Execute, 6 Proof-of-Execution, 7 Validate
  const unit = await ended(progress, () => serveUnit(unitId, request, progress));
  // 8 Aggregate
  const result = aggregate(parameters.workloadClass, [unit]);
  progress.skipped('aggregate');
  // 9 Settle: also after a cancellation, or the reservation would stay.
  return CancellationScope.nonCancellable(() => settle(request, result, progress));
}

/** Whatever happens to a unit, it ends in a named state. */
async function ended(progress: Progress, serve: () => Promise<UnitOutcome>): Promise<UnitOutcome> {
  try {
    return await serve();
  } catch (error) {
    const cancelled = isCancellation(error);
    const code = cancelled ? 'execute.cancelled' : stepFailureCode(error);
    progress.stopped(code);
    return { state: cancelled ? 'cancelled' : 'failed', code, dispatches: 0 };
  }
}

async function settle(
  request: AcceptedInference,
  unit: UnitOutcome,
  progress: Progress,
): Promise<InferenceOutcome> {
  progress.running('settle');
  const { chargedWei, elapsedMs } = await steps.settle({
    requestId: request.requestId,
    accountId: request.accountId,
    state: unit.state,
    code: unit.code ?? null,
    usage: unit.usage ?? null,
    price: request.price,
    reservedWei: request.reservedWei,
    timeline: progress.records(),
  });
  progress.done('settle', elapsedMs, { note: `charged ${chargedWei} wei` });
  upsertSearchAttributes([
    { key: OUTCOME, value: unit.state },
    { key: DISPATCHES, value: unit.dispatches },
    { key: SAMPLED, value: unit.isSampled ?? false },
    ...(unit.node ? [{ key: NODE, value: unit.node.nodeId }] : []),
    ...(unit.node ? [{ key: OPERATOR, value: unit.node.operatorId }] : []),
  ]);
  return {
    state: unit.state,
    dispatches: unit.dispatches,
    chargedWei,
    ...(unit.code ? { code: unit.code } : {}),
    ...(unit.node ? { node: unit.node.nodeId } : {}),
  };
}

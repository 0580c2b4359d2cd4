import { openReturn } from '../crypto/return.ts';
import { readRequestCost, readTimedAttempts } from '../prisma/attempts.ts';
import type { RequestRecord, RequestSummary } from '../prisma/requests.ts';
import { readVerification, type VerificationRecord } from '../prisma/verifications.ts';
import { errorDefinition, type ErrorCode } from '../protocol/errors.ts';
import { isRequestId } from '../protocol/ids.ts';
import { stepNamed, stepsWithoutRun, type StepRecord } from '../protocol/lifecycle.ts';
import { parseResult } from '../protocol/result.ts';
import { WORKLOAD_CLASSES } from '../protocol/workload.ts';
import { attemptViews, costView } from './attempt-view.ts';
import { codedError, type GatewayDependencies } from './context.ts';
import { requestFailure } from './errors.ts';
import { fetchSteps } from './run-client.ts';
import { formatOf } from './stream-format.ts';
import { verificationView } from './verification-view.ts';

/** What the API says of a request in a list of them. */
export function summariseRequest(record: RequestSummary, verification: VerificationRecord) {
  const { id, parameters } = record;
  return {
    id,
    object: 'request' as const,
    status: record.status,
    workload_class: parameters.workloadClass,
    model: parameters.model,
    hardware_tier: parameters.hardwareTier,
    priority: parameters.priority,
    deadline_seconds: parameters.deadlineSeconds,
    max_tokens: parameters.maxTokens,
    delivery: record.delivery,
    accepted_at: record.acceptedAt.toISOString(),
    finished_at: record.finishedAt?.toISOString() ?? null,
    reserved_wei: record.reservedWei,
    charged_wei: record.chargedWei,
    refunded_wei: record.refundedWei,
    refund: codeView(record.refundCode),
    error: failureView(record),
    proof_of_execution: record.proof,
    verification: verificationView(record, verification),
  };
}

function failureView({ failureCode, failureDetail }: RequestSummary) {
  if (failureCode === null) return null;
  const { code, message, metadata } = requestFailure(failureCode, failureDetail);
  return { code, message, ...(metadata ? { metadata } : {}) };
}

function codeView(code: ErrorCode | null) {
  return code && { code, message: errorDefinition(code).message };
}

/**
 * All that the API says of one request. While it is under way its steps are asked of its run; if
 * they can't be had, `steps` is null and `steps_error` says why: the rest is answered all the same.
 * The result is opened for its own account only.
 */
export async function describeRequest(record: RequestRecord, dependencies: GatewayDependencies) {
  const { id, parameters, sealedResult } = record;
  const { database } = dependencies;
  const [{ steps, error }, verification, attempts, cost] = await Promise.all([
    stepsOf(record, dependencies),
    readVerification(database, id),
    readTimedAttempts(database, id),
    readRequestCost(database, id),
  ]);
  const head = {
    id,
    created: Math.floor(record.acceptedAt.getTime() / 1_000),
    model: parameters.model,
  };
  return {
    ...summariseRequest(record, verification),
    deadline_at: record.deadlineAt.toISOString(),
    steps,
    steps_error: error,
    attempts: attemptViews(attempts, record),
    cost: costView(record, cost),
    result:
      sealedResult &&
      formatOf(parameters).whole(head, await openedResult(sealedResult, dependencies)),
    temporal_url: temporalUrl(id, dependencies),
  };
}

async function stepsOf(record: RequestRecord, dependencies: GatewayDependencies) {
  const { id, timeline, finishedAt, failureCode, parameters } = record;
  if (timeline) return { steps: timeline.map(stepView), error: null };
  const { path } = WORKLOAD_CLASSES[parameters.workloadClass];
  // It ended without a run that could have told more.
  if (finishedAt || !isRequestId(id))
    return { steps: stepsWithoutRun(path, failureCode).map(stepView), error: null };
  try {
    return { steps: (await fetchSteps(dependencies, id)).map(stepView), error: null };
  } catch (cause) {
    const { code, message } = codedError(cause);
    dependencies.log.warn({ request: id, code }, 'gateway // steps not known');
    return { steps: null, error: { code, message } };
  }
}

function stepView({ step, elapsedMs, ...rest }: StepRecord) {
  const { number, plane } = stepNamed(step);
  return { number, step, plane, elapsed_ms: elapsedMs ?? null, ...rest };
}

async function openedResult(
  sealedResult: NonNullable<RequestRecord['sealedResult']>,
  { requesterRing }: GatewayDependencies,
) {
  const { resultBytes } = await openReturn(sealedResult, requesterRing);
  return parseResult(resultBytes);
}

/** Where people look at the run; null when the gateway wasn't told. */
export function temporalUrl(id: string, dependencies: GatewayDependencies): string | null {
  const { temporalUiUrl, temporalNamespace } = dependencies;
  return temporalUiUrl && `${temporalUiUrl}/namespaces/${temporalNamespace}/workflows/${id}`;
}

import { latestCoordinator } from '../prisma/requests.ts';
import { CodedError } from '../protocol/errors.ts';
import type { RequestId } from '../protocol/ids.ts';
import type { StepRecord } from '../protocol/lifecycle.ts';
import { errorOf, type IntakeClientOptions } from './intake-client.ts';
import type { RequestSource } from './request-events.ts';

/** The record of a request is answered without its steps rather than later. */
const STEPS_MS_MAX = 3_000;
/** More than the coordinator waits for a run to start and to end. */
const CANCEL_MS_MAX = 15_000;

/**
 * The nine steps of a request that is under way, asked of the coordinator.
 *
 * @throws CodedError `gateway.coordinator_unreachable` or `gateway.steps_unavailable`.
 */
export async function fetchSteps(
  source: RequestSource,
  requestId: RequestId,
): Promise<readonly StepRecord[]> {
  const response = await askAny(source, requestId, 'GET', 'steps', STEPS_MS_MAX);
  const { steps } = (await response.json()) as { steps: readonly StepRecord[] };
  return steps;
}

/**
 * Has a request cancelled. When this returns it has usually ended; its record says how.
 *
 * @throws CodedError `gateway.coordinator_unreachable`
 */
export async function cancelRequest(source: RequestSource, requestId: RequestId): Promise<void> {
  await askAny(source, requestId, 'POST', 'cancel', CANCEL_MS_MAX);
}

/** The gateway's own coordinator, or the one of the latest attempt if that can't be reached. */
async function askAny(
  source: RequestSource,
  requestId: RequestId,
  method: 'GET' | 'POST',
  what: string,
  timeoutMs: number,
): Promise<Response> {
  const path = `${requestId}/${what}`;
  try {
    return await ask(source, method, path, timeoutMs);
  } catch (error) {
    const isAway = error instanceof CodedError && error.code === 'gateway.coordinator_unreachable';
    const other = isAway && (await latestCoordinator(source.database, requestId).catch(() => null));
    if (!other || other === source.coordinatorUrl) throw error;
    return ask({ ...source, coordinatorUrl: other }, method, path, timeoutMs);
  }
}

async function ask(
  { coordinatorUrl, intakeToken }: IntakeClientOptions,
  method: 'GET' | 'POST',
  path: string,
  timeoutMs: number,
): Promise<Response> {
  const response = await fetch(`${coordinatorUrl}/v1/intake/requests/${path}`, {
    method,
    headers: { authorization: `Bearer ${intakeToken}` },
    signal: AbortSignal.timeout(timeoutMs),
  }).catch((cause: unknown) => {
    throw new CodedError('gateway.coordinator_unreachable', undefined, { cause });
  });
  if (!response.ok) throw await errorOf(response);
  return response;
}

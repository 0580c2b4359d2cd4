import { setTimeout as sleep } from 'node:timers/promises';
import { WorkflowNotFoundError, type Client } from '@temporalio/client';
import { abandon } from '../activities/receive.ts';
import { announceCancellation } from '../prisma/cancellations.ts';
import { readRequest, type RequestStatus } from '../prisma/requests.ts';
import { CodedError } from '../protocol/errors.ts';
import { shortId, type RequestId } from '../protocol/ids.ts';
import { stepsWithoutRun, type StepRecord } from '../protocol/lifecycle.ts';
import { WORKLOAD_CLASSES } from '../protocol/workload.ts';
import type { stepsQuery } from '../workflows/inference.ts';
import { whenRecord, type RecordSource } from './when-record.ts';

/** A run that is in the middle of a step answers once that step is over. */
const QUERY_MS_MAX = 2_000;
/** How long a cancellation waits for the request to end: it is usually a matter of milliseconds. */
const END_MS_MAX = 5_000;
/** An accepted request that has no workflow yet is about to get one. */
const START_MS_MAX = 3_000;
const START_POLL_MS = 100;
const STEPS: (typeof stepsQuery)['name'] = 'steps';

export interface RunDependencies extends RecordSource {
  readonly client: Client;
}

/**
 * The nine steps of a request as they are now, asked of its run. The history isn't changed by it.
 *
 * @throws CodedError `gateway.request_not_found`, or `gateway.steps_unavailable` when the run
 *   doesn't answer in time.
 */
export async function liveSteps(
  { client, database }: RunDependencies,
  requestId: RequestId,
): Promise<readonly StepRecord[]> {
  const record = await known(database, requestId);
  if (record.timeline) return record.timeline;
  try {
    return await client.withDeadline(Date.now() + QUERY_MS_MAX, () =>
      client.workflow.getHandle(requestId).query<StepRecord[]>(STEPS),
    );
  } catch (error) {
    if (!(error instanceof WorkflowNotFoundError))
      throw new CodedError('gateway.steps_unavailable', undefined, { cause: error });
    const { path } = WORKLOAD_CLASSES[record.parameters.workloadClass];
    return stepsWithoutRun(path, record.failureCode);
  }
}

/**
 * Cancels a request, and waits a little for its end. Repeating it changes nothing. A request whose
 * run is only just being started is cancelled once there is one. If none comes, or if it was ended
 * from outside, the request is ended here.
 *
 * @throws CodedError `gateway.request_not_found`
 */
export async function cancelRun(
  dependencies: RunDependencies,
  requestId: RequestId,
): Promise<void> {
  const { database, client, log } = dependencies;
  const startByMs = Date.now() + START_MS_MAX;
  for (;;) {
    const { finishedAt, sealedResult } = await known(database, requestId);
    if (finishedAt !== null) return;
    if (sealedResult !== null)
      throw new CodedError('gateway.request_ended', 'It was delivered, and is being checked.');
    const run = await runState(client, requestId);
    if (run === 'open') {
      log.info({ request: shortId(requestId) }, 'coordinator // cancellation asked for');
      await client.workflow.getHandle(requestId).cancel();
      await tellNodes(dependencies, requestId);
      const patience = AbortSignal.timeout(END_MS_MAX);
      await whenRecord(dependencies, requestId, (record) => record.finishedAt !== null, patience);
      return;
    }
    if (run === 'closed' || Date.now() > startByMs) {
      await endWithoutRun(dependencies, requestId, run);
      return;
    }
    await sleep(START_POLL_MS);
  }
}

/**
 * Not before the run knows: a node that stops at once would seem to have cut its answer short by
 * itself.
 */
async function tellNodes({ database, log }: RunDependencies, requestId: RequestId): Promise<void> {
  try {
    await announceCancellation(database, requestId);
  } catch (error) {
    log.warn(
      { request: shortId(requestId), error: String(error) },
      'coordinator // the node learns of the cancellation by its heartbeat only',
    );
  }
}

/** A closed run settles before it closes: one that left its request open was ended from outside. */
async function endWithoutRun(
  { database, log }: RunDependencies,
  requestId: RequestId,
  run: RunState,
): Promise<void> {
  const from: RequestStatus[] = run === 'closed' ? ['accepted', 'running'] : ['accepted'];
  const end = { status: 'cancelled', code: 'execute.cancelled', from } as const;
  if (await abandon(database, requestId, end))
    log.warn(
      { request: shortId(requestId), run },
      'coordinator // cancelled without a run to cancel',
    );
}

async function known(database: RunDependencies['database'], requestId: RequestId) {
  const record = await readRequest(database, requestId);
  if (!record) throw new CodedError('gateway.request_not_found');
  return record;
}

export type RunState = 'none' | 'open' | 'closed';

/** What Temporal knows of the run of a request. */
export async function runState(client: Client, requestId: string): Promise<RunState> {
  try {
    const { status } = await client.workflow.getHandle(requestId).describe();
    return status.name === 'RUNNING' ? 'open' : 'closed';
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return 'none';
    throw error;
  }
}

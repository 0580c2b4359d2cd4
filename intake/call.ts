import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { receive, type ReceiveKeys } from '../activities/receive.ts';
import { isAnswerable, readRequest, type RequestRecord } from '../prisma/requests.ts';
import { shortId, type RequestId } from '../protocol/ids.ts';
import type { IntakeEvent, IntakeOutcome } from '../protocol/intake.ts';
import type { IntakeCall } from '../protocol/receive.ts';
import type { Relay } from './relay.ts';
import { startInference } from './start.ts';
import { whenEnded } from './when-ended.ts';
import { whenRecord, type RecordSource } from './when-record.ts';

export interface IntakeDependencies extends RecordSource {
  readonly keys: ReceiveKeys;
  readonly client: Client;
  readonly relay: Relay;
}

/** How long a caller waits at most to hear that its request was accepted. */
const START_MS_MAX = 5_000;

/**
 * One intake call from acceptance to outcome: reserves and allocates, starts the workflow, and
 * passes on what comes of it. If the caller goes away the request goes on; a call repeated with the
 * same intake key joins it.
 *
 * @param emit takes each event in order; see `IntakeEvent`.
 * @param signal aborted when the caller has gone.
 * @throws CodedError before anything was emitted, when the request isn't accepted.
 */
export async function serveIntakeCall(
  dependencies: IntakeDependencies,
  call: IntakeCall,
  emit: (event: IntakeEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  const { database, keys, client, relay, log } = dependencies;
  const { accepted, isJoined, rateLimits } = await receive(database, keys, call);
  const { requestId, acceptedAtMs } = accepted;
  const acceptance = {
    type: 'accepted',
    requestId,
    acceptedAtMs,
    ...(isJoined ? { isJoined } : {}),
    ...(rateLimits ? { rateLimits } : {}),
  } as const;
  log.info(
    { request: shortId(requestId), account: call.accountId, reservedWei: accepted.reservedWei },
    'coordinator // receive: accepted',
  );
  const known = isJoined ? await readRequest(database, requestId) : undefined;
  // Also one that was ended without a run: none must be started for it any more.
  if (known && isAnswerable(known)) {
    emit(acceptance);
    emit(outcomeOf(known));
    await followToEnd(dependencies, call, requestId, emit, signal);
    return;
  }
  // Subscribed before the start, so that no frame and no outcome can come too early.
  const early: IntakeEvent[] = [];
  let pass: typeof emit = (event) => void early.push(event);
  const unsubscribe = relay.subscribe(requestId, (frame) => {
    if (!signal.aborted) pass({ type: 'frame', ...frame });
    return !signal.aborted;
  });
  const over = new AbortController();
  try {
    // Also when the caller has gone: who reads a stream, leaves, and cancels, has read it.
    const answerable = whenRecord(dependencies, requestId, isAnswerable, over.signal, isJoined);
    const started = startInference(client, accepted);
    // Said once the run is there: then nothing that is killed can lose the request. While Temporal
    // is away the caller isn't kept in the dark for long.
    const patience = sleep(START_MS_MAX, undefined, { signal: over.signal });
    await Promise.race([started, patience]).catch(() => {});
    emit(acceptance);
    for (const event of early.splice(0)) emit(event);
    pass = emit;
    await started;
    const record = await answerable;
    if (record && !signal.aborted) emit(outcomeOf(record));
  } finally {
    over.abort();
    unsubscribe();
  }
  await followToEnd(dependencies, call, requestId, emit, signal);
}

async function followToEnd(
  dependencies: IntakeDependencies,
  { untilEnd }: IntakeCall,
  requestId: RequestId,
  emit: (event: IntakeEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  if (untilEnd && (await whenEnded(dependencies, requestId, signal))) emit({ type: 'ended' });
}

/**
 * What the requester is told of a request that has a result, or ended without one. A result that
 * nobody was given before it lost its vote isn't given any more.
 */
function outcomeOf(record: RequestRecord): IntakeOutcome {
  const { sealedResult, proof, failureCode, failureDetail } = record;
  if (sealedResult && proof && failureCode === null)
    return {
      type: 'outcome',
      state: 'validated',
      sealedResult,
      node: proof.node,
      dispatch: proof.dispatch,
    };
  return {
    type: 'outcome',
    state: 'failed',
    code: failureCode ?? 'coordinator.internal',
    ...(failureDetail ? { failureDetail } : {}),
  };
}

import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { receive, type ReceiveKeys } from '../activities/receive.ts';
import { isAnswerable, outcomeOf, readRequest, type RequestRecord } from '../prisma/requests.ts';
import { shortId, type RequestId } from '../protocol/ids.ts';
import type { IntakeEvent } from '../protocol/intake.ts';
import type { IntakeCall } from '../protocol/receive.ts';
import type { EventOutput } from './event-lines.ts';
import type { Relay } from './relay.ts';
import { startInference } from './start.ts';
import { whenEnded } from './when-ended.ts';
import { whenRecord, type RecordSource } from './when-record.ts';

export interface IntakeDependencies extends RecordSource {
  readonly keys: ReceiveKeys;
  readonly client: Client;
  readonly relay: Relay;
  /** Called for each request that is accepted here. */
  readonly onAccepted: () => void;
}

/** How long a caller waits at most to hear that its request was accepted. */
const START_MS_MAX = 5_000;

/**
 * One intake call from acceptance to outcome: reserves and allocates, starts the workflow, and
 * passes on what comes of it. If the caller goes away the request goes on; a call repeated with the
 * same intake key joins it.
 *
 * @param output takes each event in order; see `IntakeEvent`.
 * @throws CodedError before anything was emitted, when the request isn't accepted.
 */
export async function serveIntakeCall(
  dependencies: IntakeDependencies,
  call: IntakeCall,
  output: EventOutput,
): Promise<void> {
  const { database, keys, client, log } = dependencies;
  const { accepted, isJoined, mayStart, rateLimits } = await receive(database, keys, call);
  const { requestId, acceptedAtMs } = accepted;
  if (!isJoined) dependencies.onAccepted();
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
    output.emit(acceptance);
    output.emit(outcomeOf(known));
  } else {
    // Where the start got lost that the request's maker owes it, the sweeper ends it.
    const start = async () => (mayStart ? startInference(client, accepted) : undefined);
    await passOn(dependencies, acceptance, output, { start, isNew: !isJoined });
  }
  if (call.untilEnd) await followToEnd(dependencies, requestId, output);
}

/**
 * Passes on what comes of a request that was accepted, by this coordinator or another one, as the
 * intake call does that it was made by: the frames that come by this one, from the first on.
 *
 * @param known its record, as it was just now.
 */
export async function serveFollower(
  dependencies: IntakeDependencies,
  requestId: RequestId,
  known: RequestRecord,
  untilEnd: boolean,
  output: EventOutput,
): Promise<void> {
  const acceptedAtMs = known.acceptedAt.getTime();
  const acceptance = { type: 'accepted', requestId, acceptedAtMs } as const;
  if (isAnswerable(known)) {
    output.emit(acceptance);
    output.emit(outcomeOf(known));
  } else await passOn(dependencies, acceptance, output);
  if (untilEnd) await followToEnd(dependencies, requestId, output);
}

interface Beginning {
  readonly start: () => Promise<void>;
  /** Whether it can't have an outcome yet. */
  readonly isNew: boolean;
}

type Acceptance = Extract<IntakeEvent, { type: 'accepted' }> & { readonly requestId: RequestId };

async function passOn(
  dependencies: IntakeDependencies,
  acceptance: Acceptance,
  { emit, onReady, signal }: EventOutput,
  { start, isNew }: Beginning = { start: async () => {}, isNew: false },
): Promise<void> {
  const { relay } = dependencies;
  const { requestId } = acceptance;
  // Held before the start, so that no frame can come too early.
  const release = relay.hold(requestId);
  const over = new AbortController();
  // One has to stay until there is an outcome, also when all have gone: who reads a stream, leaves,
  // and cancels, has read it.
  const leave = () => {
    if (relay.holders(requestId) > 1) over.abort();
  };
  try {
    const answerable = whenRecord(dependencies, requestId, isAnswerable, over.signal, !isNew);
    const started = start();
    // Said once the run is there: then nothing that is killed can lose the request. While Temporal
    // is away the caller isn't kept in the dark for long.
    const patience = sleep(START_MS_MAX, undefined, { signal: over.signal });
    const isStarted = await Promise.race([started.then(() => true), patience]).catch(() => {});
    emit(isStarted ? acceptance : { ...acceptance, isPending: true });
    const frames = relay.subscribe(requestId, (frame) => emit({ type: 'frame', ...frame }));
    onReady(frames.resume);
    signal.addEventListener('abort', frames.end);
    if (signal.aborted) frames.end();
    await started;
    signal.addEventListener('abort', leave);
    if (signal.aborted) leave();
    const record = await answerable;
    // The result has what wasn't taken of them.
    frames.end();
    if (record && !signal.aborted) emit(outcomeOf(record));
  } finally {
    over.abort();
    signal.removeEventListener('abort', leave);
    release();
  }
}

async function followToEnd(
  dependencies: IntakeDependencies,
  requestId: RequestId,
  { emit, signal }: EventOutput,
): Promise<void> {
  if (await whenEnded(dependencies, requestId, signal)) emit({ type: 'ended' });
}

import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '../prisma/client.ts';
import { isAnswerable, latestCoordinator, outcomeOf, readRequest } from '../prisma/requests.ts';
import { CodedError } from '../protocol/errors.ts';
import type { IntakeEvent } from '../protocol/intake.ts';
import type { IntakeCall } from '../protocol/receive.ts';
import { callEvents, followEvents, refused, type IntakeClientOptions } from './intake-client.ts';

/** Between two tries to reach a coordinator. */
const RETRY_MS = 250;
/** How long a coordinator may be away: beyond the deadline of a request that was accepted. */
const OUTAGE_SECONDS_MAX = 30;
/** Of a connection that never came about. */
const NOT_REACHED: ReadonlySet<unknown> = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'UND_ERR_CONNECT_TIMEOUT',
]);

export interface RequestSource extends IntakeClientOptions {
  readonly database: Database;
}

/** What a gateway hears of one request. Each `accepted` says that frames begin again. */
export type RequestEvent = Exclude<IntakeEvent, { type: 'refused' | 'ping' }>;

/**
 * Makes one intake call and yields its events. When the connection breaks the call is repeated with
 * the same intake key, which joins the request instead of making another: so a coordinator may be
 * killed and restarted under it, or for good, once the request has been accepted: then its outcome
 * comes from where it is stored. The last event is an outcome, or `ended` if the call asks for it.
 *
 * @param gone aborted when whoever asks has hung up: then nothing is asked for any more, unless a
 *   coordinator may have accepted it.
 * @throws CodedError when the request is refused, or no coordinator answers for too long; the
 *   reason of `gone`.
 */
export function intakeEvents(
  source: RequestSource,
  call: IntakeCall,
  signal: AbortSignal,
  gone?: AbortSignal,
): AsyncGenerator<RequestEvent> {
  const { parameters, untilEnd = false } = call;
  const { deadlineSeconds, stream: isStreamed } = parameters;
  const target = { call, requestId: null, untilEnd, deadlineSeconds, isStreamed };
  return follow(source, target, signal, gone);
}

/** A request that was accepted, and how it is followed. */
export interface Followed {
  readonly requestId: string;
  readonly acceptedAtMs: number;
  /** Whether to go on after its outcome, until it has ended. */
  readonly untilEnd: boolean;
  readonly deadlineSeconds: number;
  /** Whether there may be frames. */
  readonly isStreamed: boolean;
}

/**
 * What comes of a request that was accepted, through whichever gateway: what is stored of it, or
 * live from the coordinator by which its latest attempt streams.
 *
 * @throws CodedError when no coordinator answers for too long.
 */
export async function* followedEvents(
  source: RequestSource,
  followed: Followed,
  signal: AbortSignal,
): AsyncGenerator<RequestEvent> {
  const { requestId, acceptedAtMs } = followed;
  yield { type: 'accepted', requestId, acceptedAtMs };
  yield* follow(source, { ...followed, call: null }, signal);
}

type Target = Omit<Followed, 'requestId' | 'acceptedAtMs'> & {
  readonly requestId: string | null;
  readonly call: IntakeCall | null;
};

interface Progress {
  requestId: string | null;
  isAnswered: boolean;
  /**
   * The call may have reached a coordinator, which may have accepted it: what it joins when it is
   * repeated is its own.
   */
  isSent: boolean;
  lastHeardMs: number;
  /** Of a coordinator that couldn't be reached. */
  awayUrl: string | null;
}

async function* follow(
  source: RequestSource,
  target: Target,
  signal: AbortSignal,
  gone?: AbortSignal,
): AsyncGenerator<RequestEvent> {
  const progress: Progress = {
    requestId: target.requestId,
    isAnswered: false,
    isSent: target.call === null,
    lastHeardMs: Date.now(),
    awayUrl: null,
  };
  const isLast = ({ type }: RequestEvent) => type === (target.untilEnd ? 'ended' : 'outcome');
  for (;;) {
    if (!progress.isSent) gone?.throwIfAborted();
    for (const event of await storedEvents(source, progress)) {
      progress.isAnswered = true;
      yield event;
      if (isLast(event)) return;
    }
    for await (const event of liveEvents(source, target, progress, signal)) {
      progress.isAnswered ||= event.type === 'outcome';
      yield event;
      if (isLast(event)) return;
    }
    if (Date.now() - progress.lastHeardMs > patienceMs(target, progress))
      throw new CodedError('gateway.coordinator_unreachable');
    await sleep(RETRY_MS, undefined, { signal });
  }
}

/** Until it is accepted nothing runs whose outcome might still be had. */
function patienceMs({ deadlineSeconds }: Target, { requestId }: Progress): number {
  return ((requestId === null ? 0 : deadlineSeconds) + OUTAGE_SECONDS_MAX) * 1_000;
}

/** What the record says that wasn't said yet. While it can't be read, coordinators may know. */
async function storedEvents({ database }: RequestSource, progress: Progress) {
  const { requestId, isAnswered } = progress;
  if (requestId === null) return [];
  const record = await readRequest(database, requestId).catch(() => undefined);
  if (!record || !isAnswerable(record)) return [];
  const events: RequestEvent[] = isAnswered ? [] : [outcomeOf(record)];
  return record.finishedAt ? [...events, { type: 'ended' } as const] : events;
}

/** What a coordinator says; ends without an error when there is none, or its connection breaks. */
async function* liveEvents(
  source: RequestSource,
  target: Target,
  progress: Progress,
  signal: AbortSignal,
): AsyncGenerator<RequestEvent> {
  for (const url of await placesOf(source, progress)) {
    try {
      for await (const event of eventsAt(source, url, target, progress, signal)) {
        progress.lastHeardMs = Date.now();
        if (progress.awayUrl === url) progress.awayUrl = null;
        if (event.type === 'refused') throw refused(event.code, event.detail, event.metadata);
        if (event.type === 'accepted') progress.requestId = event.requestId;
        if (event.type !== 'ping') yield progress.isSent ? asOwn(event) : event;
        else if (await isElsewhere(source, url, target, progress)) return;
      }
      progress.isSent = true;
      return;
    } catch (error) {
      if (error instanceof CodedError || signal.aborted) throw error;
      progress.awayUrl = url;
      progress.isSent ||= !isUnreached(error);
    }
  }
}

/** A repeated call joins what it made before the answer got lost. */
function asOwn(event: RequestEvent): RequestEvent {
  if (event.type !== 'accepted') return event;
  const { isJoined: _, ...own } = event;
  return own;
}

/** Whether `fetch` failed before anything was sent. */
function isUnreached(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && 'code' in cause && NOT_REACHED.has(cause.code);
}

function eventsAt(
  source: RequestSource,
  coordinatorUrl: string,
  { call, untilEnd }: Target,
  { requestId }: Progress,
  signal: AbortSignal,
): AsyncGenerator<IntakeEvent> {
  const options = { ...source, coordinatorUrl };
  if (call && (requestId === null || coordinatorUrl === source.coordinatorUrl))
    return callEvents(options, call, signal);
  return followEvents(options, requestId ?? '', untilEnd, signal);
}

/**
 * Which coordinators may know more, in order: where the latest attempt streams to, then the
 * gateway's own. Until there is an attempt the own one may have to start the run.
 */
async function placesOf(source: RequestSource, { requestId, awayUrl }: Progress) {
  const own = source.coordinatorUrl;
  const streams = await streamsTo(source, requestId);
  if (streams === null || streams === own) return [own];
  return streams === awayUrl ? [own, streams] : [streams, own];
}

/** Whether text comes by another coordinator, which can be reached as far as is known. */
async function isElsewhere(
  source: RequestSource,
  url: string,
  { isStreamed }: Target,
  { requestId, isAnswered, awayUrl }: Progress,
): Promise<boolean> {
  if (!isStreamed || isAnswered) return false;
  const streams = await streamsTo(source, requestId);
  return streams !== null && streams !== url && streams !== awayUrl;
}

async function streamsTo({ database }: RequestSource, requestId: string | null) {
  return requestId && latestCoordinator(database, requestId).catch(() => null);
}

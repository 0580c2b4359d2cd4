import type { FastifyReply, FastifyRequest } from 'fastify';
import { CodedError } from '../protocol/errors.ts';
import { rateLimitHeaders } from '../protocol/limits.ts';
import { serveChat, type ChatEvent } from './chat.ts';
import { authenticate, codedError, type GatewayDependencies } from './context.ts';
import { answersRepeat } from './errors.ts';
import { idempotencyKeyOf } from './idempotency.ts';
import type { InferenceRequest } from './inference-request.ts';
import { noParameters, parseQuery } from './query.ts';

/** An HTTP call that asks for a request. */
export interface Asking<Chat extends InferenceRequest> {
  /** Its path. */
  readonly route: string;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  /** @throws CodedError for a body that the route doesn't take. */
  readonly parse: (body: unknown) => Chat;
  /** Aborted when the caller has hung up. */
  readonly gone: AbortSignal;
}

/** A request that was accepted, or joined, and what comes of it. */
export interface OpenedCall<Chat extends InferenceRequest> {
  readonly chat: Chat;
  readonly requestId: string;
  /** Milliseconds since the epoch; the same for all who join. */
  readonly acceptedAtMs: number;
  /** Whether its run isn't known to be there yet: only the intake call is sure to start it. */
  readonly isPending: boolean;
  readonly events: AsyncGenerator<ChatEvent>;
}

/** Aborted when the caller has hung up, and also once it has its whole answer. */
export function hungUp({ raw }: FastifyReply): AbortSignal {
  const gone = new AbortController();
  raw.on('close', () => gone.abort());
  if (raw.destroyed) gone.abort();
  return gone.signal;
}

/**
 * The beginning of every route that takes requests: who asks, for what, and whether it asked
 * before. Refusals come before anything is sent, so they still get their status. The reply gets
 * the headers that say which request it is.
 *
 * @throws CodedError when the request isn't accepted.
 */
export async function openCall<Chat extends InferenceRequest>(
  dependencies: GatewayDependencies,
  { route, request, reply, parse, gone }: Asking<Chat>,
): Promise<OpenedCall<Chat>> {
  const { accountId, keyId } = await authenticate(dependencies.database, request, 'inference');
  const idempotencyKey = idempotencyKeyOf(request.headers);
  parseQuery(noParameters, request.query);
  const chat = parse(request.body);
  const asker = { accountId, keyId, route, idempotencyKey };
  const events = serveChat(dependencies, asker, chat, gone);
  const first = await firstEvent(events);
  const { requestId, acceptedAtMs, isJoined, isPending, rateLimits } = first;
  reply.header('x-request-id', requestId);
  if (rateLimits) reply.headers(rateLimitHeaders(rateLimits));
  if (isJoined && idempotencyKey !== null) {
    dependencies.metrics.replayed();
    reply.header('x-plx-idempotent-replay', 'true');
  }
  return {
    chat,
    requestId,
    acceptedAtMs,
    isPending,
    events: idempotencyKey === null ? events : finalFailures(events, reply),
  };
}

/** With a key, a request that failed has failed for good: a call repeated with it fails alike. */
async function* finalFailures(
  events: AsyncGenerator<ChatEvent>,
  reply: FastifyReply,
): AsyncGenerator<ChatEvent> {
  try {
    yield* events;
  } catch (error) {
    // Whatever becomes of it while the coordinator is away, a repeated call hears of it.
    if (codedError(error).code !== 'gateway.coordinator_unreachable') answersRepeat(reply);
    throw error;
  }
}

/** @throws CodedError `coordinator.internal` if something else comes first, or nothing. */
async function firstEvent(events: AsyncGenerator<ChatEvent>) {
  const { done, value } = await events.next();
  if (done || value.kind !== 'accepted') throw new CodedError('coordinator.internal');
  return value;
}

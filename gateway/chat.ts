import type { Ring, X25519Key } from '../crypto/keys.ts';
import { openReturn } from '../crypto/return.ts';
import { CodedError } from '../protocol/errors.ts';
import type { IntakeOutcome } from '../protocol/intake.ts';
import type { RateLimits } from '../protocol/limits.ts';
import { parseResult, type InferenceResult } from '../protocol/result.ts';
import { eventsForCaller, type Readers } from './disconnect.ts';
import { requestFailure } from './errors.ts';
import { intakeCall, type Asker, type Requester } from './intake-call.ts';
import type { InferenceRequest } from './inference-request.ts';
import { onDisconnectOf } from './own-fields.ts';
import type { RequestEvent, RequestSource } from './request-events.ts';
import { TextStream } from './text-stream.ts';

export interface ChatDependencies extends RequestSource, Requester {
  readonly readers: Readers;
}

/**
 * What becomes of a request, in order: accepted, text of its first answer as it comes, the
 * whole result, and its end, if the caller wants to know how it was checked. `attempt` is the
 * number of the dispatch that text or result are of.
 */
export type ChatEvent =
  | {
      readonly kind: 'accepted';
      readonly requestId: string;
      readonly acceptedAtMs: number;
      /** Of the caller's key, if it has limits. */
      readonly rateLimits?: RateLimits | undefined;
      /** Whether an earlier call made the request. */
      readonly isJoined: boolean;
      /** Whether its run isn't known to be there yet. */
      readonly isPending: boolean;
    }
  | { readonly kind: 'delta'; readonly text: string; readonly attempt: number }
  | { readonly kind: 'result'; readonly result: InferenceResult; readonly attempt: number }
  | { readonly kind: 'ended' };

/**
 * Seals a request, submits it, and yields what comes back, opened: see `openedEvents`.
 *
 * @param gone aborted when the caller has hung up; what becomes of the request then is its
 *   `on_disconnect`.
 * @throws CodedError when the request is refused or ends without a result.
 */
export async function* serveChat(
  dependencies: ChatDependencies,
  asker: Asker,
  request: InferenceRequest,
  gone: AbortSignal,
): AsyncGenerator<ChatEvent> {
  const call = await intakeCall(dependencies, asker, request);
  const onDisconnect = onDisconnectOf(request, asker.idempotencyKey);
  const events = eventsForCaller(dependencies, call, onDisconnect, gone);
  yield* openedEvents(dependencies.requesterRing, events, request.stream === true);
}

/**
 * Opens what comes of a request. Text is provisional until the result came: it is what one node
 * says before Validate. If that node is replaced, the next one's text goes on where it left off;
 * with the same seed and engine it is the same text. Only `early` delivery has provisional text;
 * otherwise it comes whole, once it may be delivered.
 *
 * @param isStreamed whether the caller wants text before the result.
 * @throws CodedError when the request ends without a result, or `gateway.stream_superseded` when
 *   the result isn't what was said before.
 */
export async function* openedEvents(
  ring: Ring<X25519Key>,
  events: AsyncIterable<RequestEvent>,
  isStreamed: boolean,
): AsyncGenerator<ChatEvent> {
  let stream: TextStream | undefined;
  let isAnswered = false;
  for await (const event of events) {
    if (event.type === 'accepted') {
      const { requestId, acceptedAtMs, rateLimits, isJoined = false, isPending = false } = event;
      if (!stream)
        yield { kind: 'accepted', requestId, acceptedAtMs, rateLimits, isJoined, isPending };
      stream ??= new TextStream(ring, requestId);
      stream.restart();
      continue;
    }
    if (!stream) throw new CodedError('coordinator.internal');
    if (event.type === 'ended') {
      yield { kind: 'ended' };
      continue;
    }
    if (isAnswered || (event.type === 'frame' && !isStreamed)) continue;
    if (event.type === 'frame') {
      const text = stream.next(event);
      if (text) yield { kind: 'delta', text, attempt: event.dispatch };
      continue;
    }
    const { result, attempt } = await openOutcome(ring, event);
    isAnswered = true;
    const rest = isStreamed ? stream.rest(result.choices[0]?.text ?? '') : '';
    if (rest) yield { kind: 'delta', text: rest, attempt };
    yield { kind: 'result', result, attempt };
  }
}

/** @throws CodedError with the code that ended the request, when there is no result. */
async function openOutcome(
  ring: Ring<X25519Key>,
  outcome: IntakeOutcome,
): Promise<{ result: InferenceResult; attempt: number }> {
  if (outcome.state === 'failed') throw requestFailure(outcome.code, outcome.failureDetail);
  const { resultBytes } = await openReturn(outcome.sealedResult, ring);
  return { result: parseResult(resultBytes), attempt: outcome.dispatch };
}

import type { Ring, X25519Key } from '../crypto/keys.ts';
import { openReturn } from '../crypto/return.ts';
import { CodedError } from '../protocol/errors.ts';
import type { IntakeOutcome } from '../protocol/intake.ts';
import { parseResult, type InferenceResult } from '../protocol/result.ts';
import { eventsForCaller, type Readers } from './disconnect.ts';
import { intakeCall, type Asker, type Requester } from './intake-call.ts';
import type { IntakeClientOptions } from './intake-client.ts';
import type { InferenceRequest } from './inference-request.ts';
import { onDisconnectOf } from './own-fields.ts';
import { TextStream } from './text-stream.ts';

export interface ChatDependencies extends IntakeClientOptions, Requester {
  readonly readers: Readers;
}

/**
 * What becomes of a chat request, in order: accepted, text as it comes, the whole result, and its
 * end, if the caller wants to know how it was checked.
 */
export type ChatEvent =
  /** `isReplay`: an earlier call with the caller's Idempotency-Key made the request. */
  | { readonly kind: 'accepted'; readonly requestId: string; readonly isReplay: boolean }
  | { readonly kind: 'delta'; readonly text: string }
  | { readonly kind: 'result'; readonly result: InferenceResult }
  | { readonly kind: 'ended' };

/**
 * Seals a chat request, submits it, and yields what comes back, opened. Text is provisional until
 * the result came: it is what one node says before Validate. If that node is replaced, the next
 * one's text goes on where it left off; with the same seed and engine it is the same text. Only
 * `early` delivery has provisional text; otherwise it comes whole, once it may be delivered.
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
  let stream: TextStream | undefined;
  let isAnswered = false;
  for await (const event of eventsForCaller(dependencies, call, onDisconnect, gone)) {
    if (event.type === 'accepted') {
      // A repeated call says it again.
      if (stream) continue;
      stream = new TextStream(dependencies.requesterRing, event.requestId);
      const isReplay = asker.idempotencyKey !== null && event.isJoined === true;
      yield { kind: 'accepted', requestId: event.requestId, isReplay };
      continue;
    }
    if (!stream) throw new CodedError('coordinator.internal');
    if (event.type === 'ended') {
      yield { kind: 'ended' };
      continue;
    }
    if (isAnswered) continue;
    if (event.type === 'frame') {
      const text = stream.next(event);
      if (text) yield { kind: 'delta', text };
      continue;
    }
    const result = await openOutcome(dependencies.requesterRing, event);
    isAnswered = true;
    if (request.stream) {
      const rest = stream.rest(result.choices[0]?.text ?? '');
      if (rest) yield { kind: 'delta', text: rest };
    }
    yield { kind: 'result', result };
  }
}

/** @throws CodedError with the code that ended the request, when there is no result. */
async function openOutcome(
  ring: Ring<X25519Key>,
  outcome: IntakeOutcome,
): Promise<InferenceResult> {
  if (outcome.state === 'failed') throw new CodedError(outcome.code);
  const { resultBytes } = await openReturn(outcome.sealedResult, ring);
  return parseResult(resultBytes);
}

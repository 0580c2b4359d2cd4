import { randomBytes } from 'node:crypto';
import type { Ring, X25519Key } from '../crypto/keys.ts';
import { sealRequest } from '../crypto/request.ts';
import { openReturn } from '../crypto/return.ts';
import { canonicalBytes } from '../protocol/canonical.ts';
import { CodedError } from '../protocol/errors.ts';
import type { IntakeOutcome } from '../protocol/intake.ts';
import {
  PAYLOAD_BYTES_MAX,
  type IntakeCall,
  type RequestParameters,
  type RequesterKey,
} from '../protocol/receive.ts';
import { parseResult, type InferenceResult } from '../protocol/result.ts';
import type { WorkloadClassName } from '../protocol/workload.ts';
import { requestFailure } from './errors.ts';
import { intakeEvents, type IntakeClientOptions } from './intake-client.ts';
import { chatPayload, deliveryOf, maxTokensOf, type ChatRequest } from './openai.ts';
import { TextStream } from './text-stream.ts';

export interface ChatDependencies extends IntakeClientOptions {
  /** The gateway's own keys: it is the requester for callers who don't seal themselves. */
  readonly requesterRing: Ring<X25519Key>;
  readonly intakeKey: () => Promise<RequesterKey>;
}

/**
 * What becomes of a chat request, in order: accepted, text as it comes, the whole result, and its
 * end, if the caller wants to know how it was checked.
 */
export type ChatEvent =
  | { readonly kind: 'accepted'; readonly requestId: string }
  | { readonly kind: 'delta'; readonly text: string }
  | { readonly kind: 'result'; readonly result: InferenceResult }
  | { readonly kind: 'ended' };

/**
 * Seals a chat request, submits it, and yields what comes back, opened. Text is provisional until
 * the result came: it is what one node says before Validate. If that node is replaced, the next
 * one's text goes on where it left off; with the same seed and engine it is the same text. Only
 * `early` delivery has provisional text; otherwise it comes whole, once it may be delivered.
 *
 * @throws CodedError when the request is refused or ends without a result.
 */
export async function* serveChat(
  dependencies: ChatDependencies,
  accountId: string,
  request: ChatRequest,
  signal: AbortSignal,
): AsyncGenerator<ChatEvent> {
  const call = await intakeCall(dependencies, accountId, request);
  let stream: TextStream | undefined;
  let isAnswered = false;
  for await (const event of intakeEvents(dependencies, call, signal)) {
    if (event.type === 'accepted') {
      // A repeated call says it again.
      if (stream) continue;
      stream = new TextStream(dependencies.requesterRing, event.requestId);
      yield { kind: 'accepted', requestId: event.requestId };
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
  if (outcome.state === 'failed') throw requestFailure(outcome.code, outcome.failureDetail);
  const { resultBytes } = await openReturn(outcome.sealedResult, ring);
  return parseResult(resultBytes);
}

async function intakeCall(
  { requesterRing, intakeKey }: ChatDependencies,
  accountId: string,
  request: ChatRequest,
): Promise<IntakeCall> {
  const delivery = deliveryOf(request);
  const parameters: RequestParameters = {
    // Whether there is such a class is for Receive to say.
    workloadClass: request.workload_class as WorkloadClassName,
    model: request.model,
    hardwareTier: request.hardware_tier,
    priority: request.priority,
    deadlineSeconds: request.deadline_seconds,
    maxTokens: maxTokensOf(request),
    stream: delivery === 'early',
    seed: request.seed ?? null,
  };
  const plaintext = payloadBytes(request);
  const requesterKey = requesterRing[0].publicJwk;
  const envelope = await sealRequest({
    plaintext,
    parameters,
    requesterKey,
    intakeKey: await intakeKey(),
  });
  const key = randomBytes(24).toString('base64url');
  return {
    intakeKey: key,
    accountId,
    parameters,
    delivery,
    ...(request.stream_options?.include_verification ? { untilEnd: true } : {}),
    requesterKey,
    envelope,
  };
}

function payloadBytes(request: ChatRequest): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = canonicalBytes(chatPayload(request));
  } catch (cause) {
    // Only text without a UTF-8 form gets here.
    throw new CodedError('receive.malformed_request', 'messages: not valid Unicode', { cause });
  }
  if (bytes.length > PAYLOAD_BYTES_MAX)
    throw new CodedError('receive.payload_too_large', `At most ${PAYLOAD_BYTES_MAX} bytes.`);
  return bytes;
}

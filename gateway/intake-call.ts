import type { Ring, X25519Key } from '../crypto/keys.ts';
import { sealRequest } from '../crypto/request.ts';
import { canonicalBytes } from '../protocol/canonical.ts';
import { CodedError } from '../protocol/errors.ts';
import {
  PAYLOAD_BYTES_MAX,
  type IntakeCall,
  type RequestParameters,
  type RequesterKey,
} from '../protocol/receive.ts';
import type { WorkloadClassName } from '../protocol/workload.ts';
import { joinedBy, type Repetition } from './idempotency.ts';
import {
  deliveryOf,
  extrasOf,
  maxTokensOf,
  payloadOf,
  type InferenceRequest,
} from './inference-request.ts';
import { assertOwnCredit } from './own-fields.ts';

export interface Requester {
  /** The gateway's own keys: it is the requester for callers who don't seal themselves. */
  readonly requesterRing: Ring<X25519Key>;
  /** The coordinator's current public intake key. */
  readonly intakeKey: () => Promise<RequesterKey>;
}

/** Who asks, by which key, and whether it may ask again. */
export interface Asker extends Repetition {
  readonly keyId: string;
}

/**
 * What the coordinator is asked for on behalf of one caller, with the payload sealed to it.
 *
 * @throws CodedError `receive.malformed_request`, `receive.payload_too_large`,
 *   `receive.credit_account_forbidden`.
 */
export async function intakeCall(
  { requesterRing, intakeKey }: Requester,
  asker: Asker,
  request: InferenceRequest,
): Promise<IntakeCall> {
  const { accountId, keyId } = asker;
  assertOwnCredit(request, accountId);
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
    ...extrasOf(request),
  };
  const plaintext = payloadBytes(request);
  const requesterKey = requesterRing[0].publicJwk;
  const envelope = await sealRequest({
    plaintext,
    parameters,
    requesterKey,
    intakeKey: await intakeKey(),
  });
  return {
    ...joinedBy(asker, request),
    accountId,
    keyId,
    parameters,
    delivery,
    ...(request.stream_options?.include_verification ? { untilEnd: true } : {}),
    requesterKey,
    envelope,
  };
}

function payloadBytes(request: InferenceRequest): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = canonicalBytes(payloadOf(request));
  } catch (cause) {
    // Only text without a UTF-8 form gets here.
    throw new CodedError('receive.malformed_request', 'the text is not valid Unicode', { cause });
  }
  if (bytes.length > PAYLOAD_BYTES_MAX)
    throw new CodedError('receive.payload_too_large', `At most ${PAYLOAD_BYTES_MAX} bytes.`);
  return bytes;
}

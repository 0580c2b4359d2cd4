import { createHash, randomBytes, type KeyObject } from 'node:crypto';
import { generalDecrypt } from 'jose';
import { canonicalBytes } from '../protocol/canonical.ts';
import {
  REQUEST_PROTECTED,
  type SealedRequest,
  type WrappedRequest,
} from '../protocol/envelope.ts';
import { dispatchEnvelopeSchema, sealedRequestSchema } from '../protocol/envelope-schema.ts';
import {
  PAYLOAD_BYTES_MAX,
  type RequesterKey,
  type RequestParameters,
} from '../protocol/receive.ts';
import { agreeForRing, sealForKey, wrapContentKey } from './content-key.ts';
import { EnvelopeError } from './errors.ts';
import { sealGcm } from './gcm.ts';
import { thumbprint, type Ring, type WrapKey, type X25519Key } from './keys.ts';
import { parseEnvelope, undecryptable } from './parse.ts';

/**
 * What a request's AAD is: SHA-256 of the RFC 8785 JSON of `{parameters, requesterKey}`. It binds
 * the payload to what the coordinator reads in the clear, so that nobody on the way can raise a
 * limit or have the result sealed to another key.
 */
export function requestDigest(parameters: RequestParameters, requesterKey: RequesterKey): Buffer {
  return createHash('sha256').update(canonicalBytes({ parameters, requesterKey })).digest();
}

/**
 * Throws `dispatch.parameters_mismatch` if an envelope names other clear parameters. Receive calls
 * it so that a caller's mistake is refused at once and no node is blamed for it; it proves nothing
 * until the node decrypts, which authenticates the AAD.
 */
export function assertBound(
  jwe: { readonly aad: string },
  parameters: RequestParameters,
  requesterKey: RequesterKey,
): void {
  if (jwe.aad === requestDigest(parameters, requesterKey).toString('base64url')) return;
  throw new EnvelopeError(
    'dispatch.parameters_mismatch',
    'The request was sealed with other parameters or another requester key than those beside it.' +
      ' Its AAD must be the SHA-256 of the canonical JSON of {parameters, requesterKey}.',
  );
}

/** What `sealRequest` needs. */
export interface RequestToSeal {
  /** The payload; at most `PAYLOAD_BYTES_MAX`. */
  readonly plaintext: Uint8Array;
  readonly parameters: RequestParameters;
  readonly requesterKey: RequesterKey;
  /** The coordinator's current intake key. */
  readonly intakeKey: RequesterKey;
}

/** Seals a request to the coordinator. Throws `envelope.oversize` for a payload too large. */
export async function sealRequest(request: RequestToSeal): Promise<SealedRequest> {
  const { plaintext, parameters, requesterKey, intakeKey } = request;
  if (plaintext.length > PAYLOAD_BYTES_MAX)
    throw new EnvelopeError('envelope.oversize', 'The payload of the request is too long.');
  const contentKey = randomBytes(32);
  const aad = requestDigest(parameters, requesterKey).toString('base64url');
  const content = sealGcm(contentKey, `${REQUEST_PROTECTED}.${aad}`, plaintext);
  const recipient = sealForKey(intakeKey, await thumbprint(intakeKey), contentKey);
  contentKey.fill(0);
  return { protected: REQUEST_PROTECTED, recipients: [recipient], aad, ...content };
}

/**
 * Receive: replaces the intake recipient by the current key of the coordinator's ring. The content
 * key is unwrapped, the payload is neither decrypted nor copied. `jwe` is whatever a caller sent.
 * Throws `EnvelopeError` with an `envelope.…` code.
 */
export function rewrapRequest(
  jwe: unknown,
  intakeRing: Ring<X25519Key>,
  wrapRing: Ring<WrapKey>,
): WrappedRequest {
  const sealed = parseEnvelope(sealedRequestSchema, jwe, 'sealed request');
  const contentKey = agreeForRing(sealed.recipients[0], intakeRing);
  const [{ kid, key }] = wrapRing;
  const encryptedKey = wrapContentKey(key, contentKey);
  contentKey.fill(0);
  return {
    ...sealed,
    recipients: [{ header: { alg: 'A256KW', kid }, encrypted_key: encryptedKey }],
  };
}

/**
 * Execute, on the node: the payload of a dispatched request. Throws
 * `dispatch.parameters_mismatch`, or an `envelope.…` code.
 */
export async function openRequest(
  jwe: unknown,
  parameters: RequestParameters,
  requesterKey: RequesterKey,
  nodePrivateKey: KeyObject,
): Promise<Uint8Array> {
  const dispatched = parseEnvelope(dispatchEnvelopeSchema, jwe, 'dispatched request');
  assertBound(dispatched, parameters, requesterKey);
  try {
    const { plaintext } = await generalDecrypt(dispatched, nodePrivateKey, {
      keyManagementAlgorithms: ['RSA-OAEP-256'],
      contentEncryptionAlgorithms: ['A256GCM'],
    });
    return plaintext;
  } catch (cause) {
    throw undecryptable('dispatched request', cause);
  }
}

import { randomBytes } from 'node:crypto';
import type { ReturnEnvelope, X25519Recipient } from '../protocol/envelope.ts';
import { returnEnvelopeSchema, returnHeaderSchema } from '../protocol/envelope-schema.ts';
import type { RequesterKey } from '../protocol/receive.ts';
import type { DispatchContext } from './channel.ts';
import { agreeForRing, sealForKey } from './content-key.ts';
import { EnvelopeError } from './errors.ts';
import { encodeHeader, openGcm, sealGcm } from './gcm.ts';
import { thumbprint, type Ring, type X25519Key } from './keys.ts';
import { parseEnvelope, parseHeader } from './parse.ts';

/** The two parties that a result and its stream are sealed to. */
export interface ReturnKeys {
  readonly requesterKey: RequesterKey;
  /** The coordinator's current return key. */
  readonly returnKey: RequesterKey;
}

/** A result and where it belongs. */
export interface OpenedReturn extends DispatchContext {
  readonly resultBytes: Uint8Array;
}

/**
 * Seals a result to the requester and the coordinator (design §4). The unit, the attempt and the
 * node are authenticated in the protected header. Throws `envelope.oversize` above
 * `RESULT_BYTES_MAX`.
 */
export async function sealReturn(result: OpenedReturn & ReturnKeys): Promise<ReturnEnvelope> {
  const { resultBytes, unitId, dispatch, nodeId } = result;
  const header = { enc: 'A256GCM', unit: unitId, dispatch, node: nodeId };
  return sealToBoth(resultBytes, header, result);
}

/**
 * Opens a return as either recipient. `jwe` is whatever a node sent; that the unit, the attempt
 * and the node are the expected ones is for the caller to compare. Throws `EnvelopeError`.
 */
export async function openReturn(
  jwe: unknown,
  privateKeyRing: Ring<X25519Key>,
): Promise<OpenedReturn> {
  const sealed = parseEnvelope(returnEnvelopeSchema, jwe, 'return');
  const header = parseHeader(returnHeaderSchema, sealed.protected, 'return');
  const recipient = recipientFor(sealed, privateKeyRing);
  const contentKey = agreeForRing(recipient, privateKeyRing);
  const resultBytes = openGcm(contentKey, sealed.protected, sealed, 'return');
  contentKey.fill(0);
  const { unit, dispatch, node } = header;
  return { resultBytes, unitId: unit, dispatch, nodeId: node };
}

/** A JWE to the requester and the coordinator, in this order, under the given header. */
export async function sealToBoth(
  plaintext: Uint8Array,
  protectedHeader: { readonly enc: string } & Readonly<Record<string, string | number>>,
  { requesterKey, returnKey }: ReturnKeys,
): Promise<ReturnEnvelope> {
  const [requester, coordinator] = await Promise.all([
    thumbprint(requesterKey),
    thumbprint(returnKey),
  ]);
  const contentKey = randomBytes(32);
  const header = encodeHeader(protectedHeader);
  const jwe = {
    protected: header,
    recipients: [
      sealForKey(requesterKey, requester, contentKey),
      sealForKey(returnKey, coordinator, contentKey),
    ],
    ...sealGcm(contentKey, header, plaintext),
  };
  contentKey.fill(0);
  return parseEnvelope(returnEnvelopeSchema, jwe, 'return');
}

/** The recipient that a ring can open. Throws `envelope.unknown_key`, naming both sides. */
export function recipientFor(jwe: ReturnEnvelope, ring: Ring<X25519Key>): X25519Recipient {
  const held = new Set(ring.map(({ kid }) => kid));
  const recipient = jwe.recipients.find(({ header }) => held.has(header.kid));
  if (recipient) return recipient;
  const named = jwe.recipients.map(({ header }) => header.kid).join(', ');
  throw new EnvelopeError(
    'envelope.unknown_key',
    `Sealed to the keys ${named}, but the ring has ${[...held].join(', ')}.`,
  );
}

/**
 * Addresses a return, opened before, to its requester once more. A node could have sealed it
 * properly to the coordinator and to nobody else; only the coordinator's own recipient shows that
 * the requester can open it. The result itself is neither decrypted nor changed.
 */
export async function readdressReturn(
  jwe: unknown,
  privateKeyRing: Ring<X25519Key>,
  requesterKey: RequesterKey,
): Promise<ReturnEnvelope> {
  const sealed = parseEnvelope(returnEnvelopeSchema, jwe, 'return');
  const recipient = recipientFor(sealed, privateKeyRing);
  const contentKey = agreeForRing(recipient, privateKeyRing);
  const requester = sealForKey(requesterKey, await thumbprint(requesterKey), contentKey);
  contentKey.fill(0);
  return { ...sealed, recipients: [requester, recipient] };
}

import { constants, publicEncrypt, type KeyObject } from 'node:crypto';
import type { WrapRecipient } from '../protocol/envelope.ts';
import { unwrapForRing } from './content-key.ts';
import type { Ring, WrapKey } from './keys.ts';

/**
 * Dispatch: encrypts a request's content key to one node (RSA-OAEP with SHA-256), a public
 * operation. The payload is neither needed nor touched; `withNodeRecipient` assembles the envelope.
 *
 * @param recipient the coordinator's own recipient of the wrapped request.
 * @returns `encrypted_key` for the node's recipient, base64url.
 * @throws EnvelopeError `envelope.unknown_key` or `envelope.undecryptable`.
 */
export function dispatchContentKey(
  recipient: WrapRecipient,
  wrapRing: Ring<WrapKey>,
  nodeEncryptionPublicKey: KeyObject,
): string {
  const contentKey = unwrapForRing(recipient, wrapRing);
  const encryptedKey = encryptContentKey(nodeEncryptionPublicKey, contentKey);
  contentKey.fill(0);
  return encryptedKey;
}

/** `alg: RSA-OAEP-256` (RFC 7518 §4.3): a content key that only one node can decrypt, base64url. */
export function encryptContentKey(nodePublicKey: KeyObject, contentKey: Uint8Array): string {
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const key = { key: nodePublicKey, padding, oaepHash: 'sha256' };
  return publicEncrypt(key, contentKey).toString('base64url');
}

import { sign, verify, type KeyObject } from 'node:crypto';
import { isPoe, signedMessage } from '../protocol/prove.ts';

/**
 * Signs result ‖ poe with the node's signing key: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2),
 * base64url. On a thread of the pool, since an RSA private operation takes milliseconds.
 */
export function signProof(
  privateKey: KeyObject,
  resultBytes: Uint8Array,
  poe: string,
): Promise<string> {
  const message = signedMessage(resultBytes, poe);
  return new Promise((resolve, reject) => {
    sign('sha256', message, privateKey, (error, signature) => {
      if (error) reject(error);
      else resolve(signature.toString('base64url'));
    });
  });
}

/**
 * Whether a node signed this result and PoE; false is `poe.bad_signature`. `signature` and `poe`
 * may be anything a node sent. Synchronous: a public operation is cheaper than a thread switch.
 */
export function verifyProof(
  publicKey: KeyObject,
  resultBytes: Uint8Array,
  poe: unknown,
  signature: unknown,
): boolean {
  if (!isPoe(poe) || typeof signature !== 'string') return false;
  const bytes = Buffer.from(signature, 'base64url');
  // Decoding skips foreign characters; only one text may stand for a signature.
  if (bytes.toString('base64url') !== signature) return false;
  return verify('sha256', signedMessage(resultBytes, poe), publicKey, bytes);
}

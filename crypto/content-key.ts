import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPublicKey,
  createSecretKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import type { EphemeralKey, X25519Recipient } from '../protocol/envelope.ts';
import type { RequesterKey } from '../protocol/receive.ts';
import { EnvelopeError } from './errors.ts';
import { keyOf, type Ring, type WrapKey, type X25519Key } from './keys.ts';

/**
 * Content keys without their content: RFC 3394 and RFC 7518 §4.6 on node:crypto. Rewrapping needs
 * them alone, which JOSE libraries don't expose; with gcm.ts they also make whole envelopes, in a
 * fifth of the time that `jose` takes. Nodes open requests and tickets with `jose`.
 */

const CONTENT_KEY_BYTES = 32;
/** The initial value of RFC 3394 §2.2.3.1. */
const WRAP_IV = Buffer.alloc(8, 0xa6);
const ALG = Buffer.from('ECDH-ES+A256KW');

/** Wraps a content key by AES-256 Key Wrap (RFC 3394); base64url, as `encrypted_key`. */
export function wrapContentKey(key: KeyObject, contentKey: Uint8Array): string {
  const cipher = createCipheriv('id-aes256-wrap', key, WRAP_IV);
  return Buffer.concat([cipher.update(contentKey), cipher.final()]).toString('base64url');
}

/** Opens an `A256KW` recipient. Throws `envelope.unknown_key` or `envelope.undecryptable`. */
export function unwrapForRing(
  recipient: { readonly header: { readonly kid: string }; readonly encrypted_key: string },
  ring: Ring<WrapKey>,
): Buffer {
  const { kid, key } = keyOf(ring, recipient.header.kid);
  return unwrap(key, recipient.encrypted_key, kid);
}

/**
 * Opens an `ECDH-ES+A256KW` recipient with its ephemeral key. Throws `envelope.unknown_key`, or
 * `envelope.undecryptable` also for an ephemeral point of low order, which would fix the secret.
 */
export function agreeForRing(recipient: X25519Recipient, ring: Ring<X25519Key>): Buffer {
  const { kid, privateKey } = keyOf(ring, recipient.header.kid);
  const secret = agree(privateKey, recipient.header.epk, kid);
  return unwrap(concatKdf(secret), recipient.encrypted_key, kid);
}

/** Seals a content key to a public X25519 key, as an `ECDH-ES+A256KW` recipient named `kid`. */
export function sealForKey(
  key: RequesterKey,
  kid: string,
  contentKey: Uint8Array,
): X25519Recipient {
  const { privateKey, publicKey } = generateKeyPairSync('x25519');
  const { x = '' } = publicKey.export({ format: 'jwk' });
  const secret = agree(privateKey, key, kid);
  return {
    header: { alg: 'ECDH-ES+A256KW', kid, epk: { kty: 'OKP', crv: 'X25519', x } },
    encrypted_key: wrapContentKey(createSecretKey(concatKdf(secret)), contentKey),
  };
}

/** The single-round Concat KDF (NIST SP 800-56A) as RFC 7518 §4.6.2 fills it in, for 256 bits. */
function concatKdf(secret: Buffer): Buffer {
  const partyInfo = Buffer.alloc(8); // Two empty strings with their lengths: no `apu`, no `apv`.
  return createHash('sha256')
    .update(uint32(1))
    .update(secret)
    .update(uint32(ALG.length))
    .update(ALG)
    .update(partyInfo)
    .update(uint32(256))
    .digest();
}

function agree(privateKey: KeyObject, epk: EphemeralKey, kid: string): Buffer {
  try {
    const publicKey = createPublicKey({ key: { ...epk }, format: 'jwk' });
    return diffieHellman({ privateKey, publicKey });
  } catch (cause) {
    throw undecryptable(kid, cause);
  }
}

function unwrap(key: KeyObject | Buffer, encryptedKey: string, kid: string): Buffer {
  let contentKey: Buffer;
  try {
    const decipher = createDecipheriv('id-aes256-wrap', key, WRAP_IV);
    contentKey = Buffer.concat([
      decipher.update(Buffer.from(encryptedKey, 'base64url')),
      decipher.final(),
    ]);
  } catch (cause) {
    throw undecryptable(kid, cause);
  }
  // Not every caller has a schema before it that admits only 40 wrapped bytes.
  if (contentKey.length !== CONTENT_KEY_BYTES) throw undecryptable(kid);
  return contentKey;
}

function undecryptable(kid: string, cause?: unknown): EnvelopeError {
  return new EnvelopeError(
    'envelope.undecryptable',
    `The content key doesn't open with key ${JSON.stringify(kid)}: it was altered, or sealed to ` +
      'another key under that name.',
    { cause },
  );
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

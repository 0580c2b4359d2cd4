import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { undecryptable } from './parse.ts';

/** The content of a JWE: each part base64url. */
export interface GcmContent {
  readonly iv: string;
  readonly ciphertext: string;
  readonly tag: string;
}

/**
 * `enc: A256GCM` (RFC 7518 §5.3): AES-256-GCM with a random 96-bit IV, safe far beyond what is
 * sealed with any one key here.
 *
 * @param authenticated the JWE's protected header in base64url, with `.` and the `aad` member
 * behind it when there is one (RFC 7516 §5.1, step 14).
 */
export function sealGcm(key: Buffer, authenticated: string, plaintext: Uint8Array): GcmContent {
  const iv = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key, iv);
  cipher.setAAD(Buffer.from(authenticated));
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return {
    iv: iv.toString('base64url'),
    ciphertext: ciphertext.toString('base64url'),
    tag: cipher.getAuthTag().toString('base64url'),
  };
}

/** Opens what `sealGcm` makes, with its 128-bit tag. Throws `envelope.undecryptable`. */
export function openGcm(
  key: Buffer,
  authenticated: string,
  content: GcmContent,
  what: string,
): Buffer {
  try {
    const iv = Buffer.from(content.iv, 'base64url');
    const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: 16 });
    decipher.setAAD(Buffer.from(authenticated));
    decipher.setAuthTag(Buffer.from(content.tag, 'base64url'));
    return Buffer.concat([
      decipher.update(Buffer.from(content.ciphertext, 'base64url')),
      decipher.final(),
    ]);
  } catch (cause) {
    throw undecryptable(what, cause);
  }
}

/** A protected header in the form that is authenticated and sent. */
export function encodeHeader(header: object): string {
  return Buffer.from(JSON.stringify(header)).toString('base64url');
}

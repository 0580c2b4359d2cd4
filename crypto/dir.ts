import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { EnvelopeError } from './errors.ts';
import { undecryptable } from './parse.ts';

/**
 * Compact JWE with `alg: dir` and `enc: A256GCM` (RFC 7516 §7.1, RFC 7518 §4.5) for stream frames.
 * `jose` makes the same in 0.2 ms, through a thread; a frame per token needs it in 0.01 ms and in
 * order. A test opens these frames with `jose`, and the other way round.
 */

/** Five parts, the encrypted key empty, each in the one canonical form of base64url. */
const COMPACT = new RegExp(
  '^(?<header>[\\w-]+)\\.\\.(?<iv>[\\w-]{16})' +
    '\\.(?<ciphertext>(?:[\\w-]{4})*(?:[\\w-][AQgw]|[\\w-]{2}[AEIMQUYcgkosw048])?)' +
    '\\.(?<tag>[\\w-]{21}[AQgw])$',
);

/** Seals one frame. Random 96-bit IVs: safe far beyond the frames that one stream can have. */
export function sealDir(key: Buffer, header: object, plaintext: Buffer): string {
  const protectedHeader = Buffer.from(JSON.stringify(header)).toString('base64url');
  const iv = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key, iv);
  cipher.setAAD(Buffer.from(protectedHeader));
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  const parts = [iv, ciphertext, cipher.getAuthTag()].map((part) => part.toString('base64url'));
  return `${protectedHeader}..${parts.join('.')}`;
}

/** Opens one frame. Throws `envelope.malformed` or `envelope.undecryptable`. */
export function openDir(key: Buffer, frame: string): Buffer {
  const { header = '', iv = '', ciphertext = '', tag = '' } = COMPACT.exec(frame)?.groups ?? {};
  if (!header) throw new EnvelopeError('envelope.malformed', 'The frame is not a compact JWE.');
  return openGcm(key, header, { iv, ciphertext, tag }, 'frame');
}

/** AES-256-GCM with a 128-bit tag, over base64url members. Throws `envelope.undecryptable`. */
export function openGcm(
  key: Buffer,
  protectedHeader: string,
  parts: { readonly iv: string; readonly ciphertext: string; readonly tag: string },
  what: string,
): Buffer {
  try {
    const iv = Buffer.from(parts.iv, 'base64url');
    const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: 16 });
    decipher.setAAD(Buffer.from(protectedHeader));
    decipher.setAuthTag(Buffer.from(parts.tag, 'base64url'));
    return Buffer.concat([
      decipher.update(Buffer.from(parts.ciphertext, 'base64url')),
      decipher.final(),
    ]);
  } catch (cause) {
    throw undecryptable(what, cause);
  }
}

import { EnvelopeError } from './errors.ts';
import { encodeHeader, openGcm, sealGcm } from './gcm.ts';

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

/** Seals one frame. */
export function sealDir(key: Buffer, header: object, plaintext: Buffer): string {
  const protectedHeader = encodeHeader(header);
  const { iv, ciphertext, tag } = sealGcm(key, protectedHeader, plaintext);
  return `${protectedHeader}..${iv}.${ciphertext}.${tag}`;
}

/** Opens one frame. Throws `envelope.malformed` or `envelope.undecryptable`. */
export function openDir(key: Buffer, frame: string): Buffer {
  const { header = '', iv = '', ciphertext = '', tag = '' } = COMPACT.exec(frame)?.groups ?? {};
  if (!header) throw new EnvelopeError('envelope.malformed', 'The frame is not a compact JWE.');
  return openGcm(key, header, { iv, ciphertext, tag }, 'frame');
}

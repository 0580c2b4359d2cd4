import { z } from 'zod';
import { isWellFormed } from './canonical.ts';
import type { DispatchEnvelope, SealedRequest, ReturnEnvelope } from './envelope.ts';
import { REQUEST_PROTECTED } from './envelope.ts';
import { isNodeId, isUnitId, type NodeId, type UnitId } from './ids.ts';
import { PAYLOAD_BYTES_MAX } from './receive.ts';
import { RESULT_BYTES_MAX } from './result.ts';

const KID_CHARACTERS_MAX = 128;
/** RSA keys of up to 4096 bits. */
const RSA_BYTES_MAX = 512;
const CANONICAL_TAIL = /^(?:|.[AQgw]|..[AEIMQUYcgkosw048])$/;

/** Base64url of exactly `bytes` bytes. */
function binary(bytes: number): z.ZodType<string> {
  return base64url().length(Math.ceil((bytes * 4) / 3));
}

/** Base64url of 1 to `bytesMax` bytes. */
function binaryUpTo(bytesMax: number): z.ZodType<string> {
  return base64url()
    .min(2)
    .max(Math.ceil((bytesMax * 4) / 3));
}

/**
 * In the one canonical form: decoders ignore the spare bits of the last character, and then many
 * texts would stand for the same bytes. A length of 4n+1 can't be base64 at all.
 */
function base64url(): z.ZodString {
  return z
    .string()
    .regex(/^[A-Za-z0-9_-]*$/)
    .refine((value) => CANONICAL_TAIL.test(value.slice(value.length - (value.length % 4))));
}

/** Thumbprints, random names and node ids; nothing that a database or a log could choke on. */
const kid = z
  .string()
  .regex(/^[\w-]+$/)
  .max(KID_CHARACTERS_MAX);
const wrappedKey = binary(40); // A 32-byte key under AES-KW (RFC 3394).

/** A public X25519 key as a JWK (RFC 8037), and nothing besides: no private member, no `kid`. */
export const x25519KeySchema = z.strictObject({
  kty: z.literal('OKP'),
  crv: z.literal('X25519'),
  x: binary(32),
});

const x25519Recipient = z.strictObject({
  header: z.strictObject({ alg: z.literal('ECDH-ES+A256KW'), kid, epk: x25519KeySchema }),
  encrypted_key: wrappedKey,
});

const nodeRecipient = z.strictObject({
  header: z.strictObject({ alg: z.literal('RSA-OAEP-256'), kid }),
  encrypted_key: binaryUpTo(RSA_BYTES_MAX),
});

const request = {
  protected: z.literal(REQUEST_PROTECTED),
  aad: binary(32),
  iv: binary(12),
  ciphertext: binaryUpTo(PAYLOAD_BYTES_MAX),
  tag: binary(16),
};

/** Exactly one recipient with an X25519 key. Its sizes bound what Receive accepts. */
export const sealedRequestSchema = z.strictObject({
  ...request,
  recipients: z.tuple([x25519Recipient]),
}) satisfies z.ZodType<SealedRequest>;

/** Exactly one recipient: a node. */
export const dispatchEnvelopeSchema = z.strictObject({
  ...request,
  recipients: z.tuple([nodeRecipient]),
}) satisfies z.ZodType<DispatchEnvelope>;

/** A JWE to two X25519 recipients: a return, or the key frame of a stream. */
export const returnEnvelopeSchema = z.strictObject({
  protected: binaryUpTo(1024),
  recipients: z.tuple([x25519Recipient, x25519Recipient]),
  iv: binary(12),
  ciphertext: binaryUpTo(RESULT_BYTES_MAX),
  tag: binary(16),
}) satisfies z.ZodType<ReturnEnvelope>;

const unit = z.custom<UnitId>(isUnitId, 'not a unit id');
const node = z.custom<NodeId>(isNodeId, 'not a node id');
const dispatch = z.int().min(1).max(0xffff_ffff);

/** The protected header of a return: which attempt at which unit it is, by which node. */
export const returnHeaderSchema = z.strictObject({
  enc: z.literal('A256GCM'),
  unit,
  dispatch,
  node,
});

/** The protected header of a stream's first frame, which carries the stream key. */
export const streamKeyHeaderSchema = returnHeaderSchema.extend({ seq: z.literal(0) });

/** The protected header of every later frame. */
export const streamFrameHeaderSchema = z.strictObject({
  alg: z.literal('dir'),
  enc: z.literal('A256GCM'),
  seq: z.int().min(1),
});

/** The plaintext of a later frame: text, or the end with the number of text frames before it. */
export const streamBodySchema = z.union([
  z.strictObject({ delta: z.string().refine(isWellFormed) }),
  z.strictObject({ end: z.literal(true), frames: z.int().min(0) }),
]);

/** What a node is told beside the request. The limits are those of the protocol. */
export const ticketSchema = z.strictObject({
  unitId: unit,
  /** The opaque number of the attempt, not its place among them: see `crypto/channel.ts`. */
  dispatch,
  nodeId: node,
  /** From decrypt. */
  deadlineSeconds: z.int().min(1).max(86_400),
  seed: z.int().min(0).max(0xffff_ffff),
  /** Whether frames are wanted while it generates. */
  stream: z.boolean(),
  /** Authorises frames for this attempt: see `crypto/channel.ts`. */
  channelToken: binary(32),
});

/** What a node is told beside the request, sealed to it alone. */
export type Ticket = z.infer<typeof ticketSchema>;

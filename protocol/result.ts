import { bytesToHex, concat, hexToBytes, sha256, stringToBytes } from 'viem/utils';
import { z } from 'zod';
import { CanonicalError, canonicalBytes, isWellFormed, parseCanonical } from './canonical.ts';
import { CodedError } from './errors.ts';
import { CHOICES_MAX, MAX_TOKENS_MAX } from './receive.ts';

/** Of canonical result bytes; Temporal refuses payloads above 2 MB and base64 adds a third. */
export const RESULT_BYTES_MAX = 1024 * 1024;

/** Alternatives to one token. */
export const TOP_LOGPROBS_MAX = 20;
/**
 * Log probabilities of one result: choices × tokens × (1 + alternatives). Of usual tokens so many
 * fit into a result; a request for more is refused before anybody runs it.
 */
export const LOGPROBS_MAX = 16_384;
/** UTF-16 code units, or bytes, of one token. */
export const TOKEN_LENGTH_MAX = 512;
/** Stands for all that is as unlikely, down to what is impossible: JSON has no infinity. */
export const LOGPROB_MIN = -9_999;

const uint32 = z.int().min(0).max(0xffff_ffff);

const tokenText = z.string().max(TOKEN_LENGTH_MAX);
/** Natural logarithm. */
const logprob = z.number().min(LOGPROB_MIN).max(0);

/** Of one token of the text, by the node's word: nothing checks these numbers. */
const tokenLogprobSchema = z.strictObject({
  token: tokenText,
  /** Where they aren't the token's UTF-8, since it is a part of a character. */
  bytes: z.array(z.int().min(0).max(255)).max(TOKEN_LENGTH_MAX).optional(),
  logprob,
  /** The likeliest tokens in its place, likeliest first. */
  top: z.array(z.strictObject({ token: tokenText, logprob })).max(TOP_LOGPROBS_MAX),
});

/** How likely one token of an answer was. */
export type TokenLogprob = z.infer<typeof tokenLogprobSchema>;

/** The result of class `ai.inference`, version 1. Unknown members are refused. */
const inferenceResultSchema = z.strictObject({
  v: z.literal(1),
  /** Of the weights that ran, `sha256:` and 64 hex digits. */
  modelDigest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  /** Engine, version and build: what equivalence classes compare. */
  engine: z.string().min(1).max(200),
  seed: uint32,
  choices: z
    .array(
      z.strictObject({
        text: z.string().max(RESULT_BYTES_MAX),
        /** As sampled, in order; a check by token ids needs them. */
        tokenIds: z.array(uint32).max(MAX_TOKENS_MAX).optional(),
        finishReason: z.enum(['stop', 'length', 'cancelled']),
        /** Of the tokens that are part of the text. There if they were asked for. */
        logprobs: z.array(tokenLogprobSchema).max(MAX_TOKENS_MAX).optional(),
      }),
    )
    .min(1)
    .max(CHOICES_MAX),
  /** The prompt once, however many choices there are, and the tokens of all of them. */
  usage: z.strictObject({ promptTokens: uint32, completionTokens: uint32 }),
  /** Of the plaintext frames sent, by `extendStreamDigest`; `emptyStreamDigest` without any. */
  streamDigest: z.string().regex(/^[0-9a-f]{64}$/),
});

/** What a node commits to for class `ai.inference` (design §3). */
export type InferenceResult = z.infer<typeof inferenceResultSchema>;

/**
 * The RFC 8785 bytes of a result: what is proved, sealed and returned. Throws a `ZodError`,
 * `CanonicalError` or `CodedError('poe.oversize')`: a node finds its mistake before it commits.
 */
export function resultBytes(result: InferenceResult): Uint8Array {
  const bytes = canonicalBytes(inferenceResultSchema.parse(result));
  assertSize(bytes);
  return bytes;
}

/**
 * Reads a node's result. Throws `CodedError`: `poe.oversize` above `RESULT_BYTES_MAX`, otherwise
 * `poe.result_invalid`, with the place but never the text.
 */
export function parseResult(bytes: Uint8Array): InferenceResult {
  assertSize(bytes);
  const parsed = inferenceResultSchema.safeParse(parseBytes(bytes));
  if (parsed.success) return parsed.data;
  const places = parsed.error.issues.map((issue) => issue.path.join('.') || '(top level)');
  throw new CodedError('poe.result_invalid', `Wrong at: ${places.slice(0, 5).join(', ')}.`);
}

/** The digest of a stream that had no frame: 32 zero bytes in hex. */
export const emptyStreamDigest = '0'.repeat(64);

/**
 * The next link of the chain over the PLAINTEXT frames a node sent:
 * d₀ = 32 zero bytes, dᵢ₊₁ = SHA-256(dᵢ ‖ SHA-256(UTF-8 of deltaᵢ)). Takes and returns 64 hex
 * digits. It fixes the frames' bounds too, so whoever relayed them needs no concatenated copy.
 * Throws `CanonicalError` for half a surrogate pair, which has no UTF-8 form.
 */
export function extendStreamDigest(digest: string, delta: string): string {
  if (!isWellFormed(delta))
    throw new CanonicalError('A stream frame must not end within a surrogate pair.');
  const link = concat([hexToBytes(`0x${digest}`), sha256(stringToBytes(delta), 'bytes')]);
  return bytesToHex(sha256(link, 'bytes')).slice(2);
}

function parseBytes(bytes: Uint8Array): unknown {
  try {
    return parseCanonical(bytes);
  } catch (cause) {
    throw new CodedError('poe.result_invalid', 'It is not canonical JSON (RFC 8785).', { cause });
  }
}

function assertSize(bytes: Uint8Array): void {
  if (bytes.length > RESULT_BYTES_MAX)
    throw new CodedError('poe.oversize', `${bytes.length} bytes; at most ${RESULT_BYTES_MAX}.`);
}

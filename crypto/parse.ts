import type { z } from 'zod';
import { EnvelopeError } from './errors.ts';

/**
 * Checks something a stranger sent. Throws `envelope.oversize` when the ciphertext is too long,
 * otherwise `envelope.malformed` with the places that are wrong, never their content.
 */
export function parseEnvelope<Value>(
  schema: z.ZodType<Value>,
  value: unknown,
  what: string,
): Value {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const { issues } = parsed.error;
  if (issues.some(({ code, path }) => code === 'too_big' && path.at(-1) === 'ciphertext'))
    throw new EnvelopeError('envelope.oversize', `The ciphertext of the ${what} is too long.`);
  const places = issues.map(({ path }) => path.join('.') || '(top level)').slice(0, 5);
  throw new EnvelopeError(
    'envelope.malformed',
    `The ${what} is malformed at: ${places.join(', ')}. See docs/decisions/0003-envelopes.md.`,
  );
}

/** Parses JSON that a stranger sent, as UTF-8 bytes. Throws `envelope.malformed`. */
export function parseJsonBytes<Value>(
  schema: z.ZodType<Value>,
  bytes: Uint8Array,
  what: string,
): Value {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    // No cause: the parser's message quotes the text, which may be a plaintext.
    throw new EnvelopeError('envelope.malformed', `The ${what} is not JSON in UTF-8.`);
  }
  return parseEnvelope(schema, value, what);
}

/** A protected header, from its base64url. Throws `envelope.malformed`. */
export function parseHeader<Value>(schema: z.ZodType<Value>, encoded: string, what: string): Value {
  return parseJsonBytes(schema, Buffer.from(encoded, 'base64url'), `header of the ${what}`);
}

/** What every failed authentication is reported as; the cause says nothing useful to a caller. */
export function undecryptable(what: string, cause: unknown): EnvelopeError {
  return new EnvelopeError(
    'envelope.undecryptable',
    `The ${what} doesn't decrypt: it was altered, or sealed to another key.`,
    { cause },
  );
}

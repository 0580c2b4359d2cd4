import canonicalize from 'canonicalize';
import { bytesToString, stringToBytes } from 'viem/utils';

/** Nesting beyond this is refused: serialising is recursive and the input may be hostile. */
export const CANONICAL_DEPTH_MAX = 64;

/** A value, or bytes, that RFC 8785 canonical JSON can't represent. */
export class CanonicalError extends Error {
  override readonly name = 'CanonicalError';
}

/**
 * RFC 8785 canonical JSON. Throws `CanonicalError`, naming the place, for what JSON would silently
 * drop or change: undefined, NaN, infinities, bigint, lone surrogates, holes, Dates, Maps, cycles.
 */
export function canonicalText(value: unknown): string {
  assertJson(value, '$', 0);
  const text = canonicalize(value);
  if (text === undefined) throw new CanonicalError('$ has no JSON form.');
  return text;
}

/** `canonicalText` in UTF-8: what is hashed, signed and sealed. */
export function canonicalBytes(value: unknown): Uint8Array {
  return stringToBytes(canonicalText(value));
}

/**
 * Parses bytes that must already be canonical. Throws `CanonicalError` unless serialising the
 * value again gives the same bytes, so whitespace, duplicate keys, a byte order mark, other
 * number forms and invalid UTF-8 (which decoding replaces) are all refused by the same rule.
 */
export function parseCanonical(bytes: Uint8Array): unknown {
  const value = parseJson(bytesToString(bytes));
  const again = canonicalBytes(value);
  if (again.length !== bytes.length || again.some((byte, index) => byte !== bytes[index]))
    throw new CanonicalError('The bytes are JSON but not in RFC 8785 canonical form.');
  return value;
}

/** Whether a text has a UTF-8 form, which lone surrogates don't: encoders would replace them. */
export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    // The parser's own message quotes the text, which may be a caller's: it goes no further.
    throw new CanonicalError('The bytes are not JSON in UTF-8.', { cause });
  }
}

function assertJson(value: unknown, path: string, depth: number): void {
  if (value === null || typeof value === 'boolean') return;
  if (typeof value === 'string') return assertText(value, path);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new CanonicalError(`${path} is ${value}.`);
    return;
  }
  if (typeof value !== 'object') throw new CanonicalError(`${path} is a ${typeof value}.`);
  if (depth >= CANONICAL_DEPTH_MAX)
    throw new CanonicalError(`${path} is nested deeper than ${CANONICAL_DEPTH_MAX} levels.`);
  if (Array.isArray(value)) {
    // By index, because forEach would skip the holes of a sparse array.
    for (let index = 0; index < value.length; index++)
      assertJson(value[index], `${path}[${index}]`, depth + 1);
    return;
  }
  if (Object.prototype.toString.call(value) !== '[object Object]' || hasToJson(value))
    throw new CanonicalError(`${path} is not a plain object.`);
  for (const [key, member] of Object.entries(value)) {
    assertText(key, `a key of ${path}`);
    assertJson(member, `${path}.${key}`, depth + 1);
  }
}

function assertText(text: string, path: string): void {
  if (!isWellFormed(text)) throw new CanonicalError(`${path} holds a lone surrogate.`);
}

function hasToJson(value: object): boolean {
  return 'toJSON' in value && typeof value.toJSON === 'function';
}

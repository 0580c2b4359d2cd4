import { isWellFormed } from '../protocol/canonical.ts';
import { CodedError } from '../protocol/errors.ts';
import type { GatewayLimits } from './limits.ts';

type BodyLimits = Pick<GatewayLimits, 'bodyDepth' | 'bodyValues'>;

const UTF_8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
/** An escape of a surrogate or of NUL: without one, text that was valid UTF-8 stays valid. */
const SUSPICIOUS = /\\u(?:d[89a-f]|0000)/i;

/**
 * Reads JSON as strictly as RFC 8259 allows, because what two readers could understand differently
 * is no basis for a charge: no key twice in an object, no `__proto__`, nothing but valid Unicode,
 * no NUL, bounded depth and size, and an object at the top.
 *
 * @throws CodedError `receive.malformed_request`. It never repeats what the caller wrote.
 */
export function parseBody(bytes: Uint8Array, limits: BodyLimits): object {
  let text: string;
  try {
    text = UTF_8.decode(bytes);
  } catch (cause) {
    throw malformed('The body is not valid UTF-8.', cause);
  }
  assertStrict(text, limits);
  const body = parsed(text);
  // Routes take an absent body for an empty object: `null` is neither.
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw malformed('The body is not an object.');
  return body;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw malformed('The body is not valid JSON.', cause);
  }
}

/**
 * One pass over the text, before anything is made of it. What isn't JSON at all may pass: that is
 * for the parser to find.
 */
function assertStrict(text: string, { bodyDepth, bodyValues }: BodyLimits): void {
  /** For each open object the keys seen, for each open array nothing. */
  const open: (Set<string> | null)[] = [];
  let values = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case QUOTE: {
        const end = stringEnd(text, at);
        const value = stringValue(text.slice(at, end));
        at = end - 1;
        const keys = open.at(-1);
        if (keys && isKey(text, end)) addKey(keys, value);
        break;
      }
      case BRACE:
        open.push(new Set());
        break;
      case BRACKET:
        open.push(null);
        break;
      case BRACE_END:
      case BRACKET_END:
        open.pop();
        break;
      case COMMA:
        values++;
    }
    if (open.length > bodyDepth) throw malformed(`The body is nested deeper than ${bodyDepth}.`);
    if (values > bodyValues) throw malformed(`The body has more than ${bodyValues} values.`);
  }
}

function addKey(keys: Set<string>, key: string): void {
  if (key === '__proto__') throw malformed('The body has a key that no object may have.');
  if (keys.has(key)) throw malformed('The body has a key twice in one object.');
  keys.add(key);
}

/** The index behind the closing quote, or that of the end if there is none. */
function stringEnd(text: string, start: number): number {
  for (let at = start + 1; ; at++) {
    at = text.indexOf('"', at);
    if (at < 0) return text.length;
    let slashes = 0;
    while (text.charCodeAt(at - 1 - slashes) === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return at + 1;
  }
}

/** What a string says, if that matters: a key has to be compared as it is meant. */
function stringValue(quoted: string): string {
  if (!quoted.includes('\\')) return quoted.slice(1, -1);
  let value: string;
  try {
    value = JSON.parse(quoted) as string;
  } catch (cause) {
    throw malformed('The body is not valid JSON.', cause);
  }
  if (SUSPICIOUS.test(quoted) && (!isWellFormed(value) || value.includes('\0')))
    throw malformed('The body has text that is not valid Unicode, or has the character NUL.');
  return value;
}

function isKey(text: string, from: number): boolean {
  for (let at = from; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === COLON) return true;
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return false;
  }
  return false;
}

function malformed(detail: string, cause?: unknown): CodedError {
  return new CodedError('receive.malformed_request', detail, { cause });
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const BRACKET_END = 0x5d;
const BRACE = 0x7b;
const BRACE_END = 0x7d;

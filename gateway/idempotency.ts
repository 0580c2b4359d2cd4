import { createHash, createHmac, randomBytes } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { canonicalBytes } from '../protocol/canonical.ts';
import type { IntakeCall } from '../protocol/receive.ts';
import { MalformedRequestError } from './errors.ts';

const HEADER = 'Idempotency-Key';
/** No space, no control character: what gets through every proxy unchanged. */
const KEY = /^[\x21-\x7e]{1,255}$/;
/** How the answer comes, and not which answer: a repeated call may listen in another way. */
const WAYS_OF_LISTENING: readonly string[] = ['stream', 'stream_options', 'on_disconnect'];

/** What an HTTP call says of being repeated. */
export interface Repetition {
  readonly accountId: string;
  /** Its path: the same body means something else on another route. */
  readonly route: string;
  readonly idempotencyKey: string | null;
}

/**
 * The key by which a caller may repeat its call (IETF draft-ietf-httpapi-idempotency-key-header).
 *
 * @returns null when it sent none.
 * @throws CodedError `receive.malformed_request`
 */
export function idempotencyKeyOf(headers: IncomingHttpHeaders): string | null {
  const sent = headers['idempotency-key'];
  if (sent === undefined) return null;
  if (typeof sent !== 'string' || !KEY.test(sent))
    throw new MalformedRequestError(HEADER, 'is not 1 to 255 visible ASCII characters');
  return sent;
}

/**
 * What makes a call join an earlier one: the same account and key; and what keeps it from joining
 * one that asked for something else. Without a key it joins none.
 *
 * @param body as it was parsed, with its defaults; it is only kept as a digest, and the key with
 *   which that is made isn't kept at all.
 * @throws CodedError `receive.malformed_request` for text that has no UTF-8 form.
 */
export function joinedBy(
  { accountId, route, idempotencyKey }: Repetition,
  body: Readonly<Record<string, unknown>>,
): Pick<IntakeCall, 'intakeKey' | 'bodyDigest'> {
  if (idempotencyKey === null) return { intakeKey: randomBytes(24).toString('base64url') };
  const account = canonicalBytes([accountId, idempotencyKey]);
  return {
    intakeKey: `idem_${createHash('sha256').update(account).digest('hex')}`,
    bodyDigest: createHmac('sha256', idempotencyKey)
      .update(bytesOf([route, questionIn(body)]))
      .digest('hex'),
  };
}

/** The body without what doesn't change the answer, and by one name what has two. */
function questionIn({ delivery, verification, ...body }: Readonly<Record<string, unknown>>) {
  const fields = Object.entries({ ...body, delivery: verification ?? delivery });
  return Object.fromEntries(
    fields.filter(
      ([name, value]) => value !== null && value !== undefined && !WAYS_OF_LISTENING.includes(name),
    ),
  );
}

function bytesOf(value: unknown): Uint8Array {
  try {
    return canonicalBytes(value);
  } catch (cause) {
    throw new MalformedRequestError('', 'not valid Unicode', cause);
  }
}

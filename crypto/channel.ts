import { createHmac, timingSafeEqual, type Hmac, type KeyObject } from 'node:crypto';
import { DISPATCH_NUMBER_MAX } from '../protocol/dispatch.ts';
import { idBytes, type NodeId, type UnitId } from '../protocol/ids.ts';

/** Of ten digits, as all that a uint32 has room for above it: no length says which it is. */
const ATTEMPT_NUMBER_MIN = 1_000_000_000;
const ATTEMPT_NUMBER_END = 2 ** 32;

/** The attempt that a channel belongs to, as its node knows it. */
export interface DispatchContext {
  readonly unitId: UnitId;
  /** What the node was told instead of the dispatch number: see `attemptNumber`. Below 2³². */
  readonly dispatch: number;
  readonly nodeId: NodeId;
}

/**
 * What a node is told instead of its dispatch number, which would show whether it checks another
 * node's work. The numbers of a unit are the distinct ones among HMAC-SHA-256(channel secret,
 * 'attempt.v1' ‖ unit_id ‖ draw as big-endian uint32), draw = 1, 2, 3 …: the first 48 bits of each,
 * taken into [10⁹, 2³²). So no two attempts at a unit have the same number, and nobody without the
 * secret can put them in order.
 *
 * @param dispatch 1 to `DISPATCH_NUMBER_MAX`; a RangeError is thrown for any other.
 */
export function attemptNumber(secret: KeyObject, unitId: UnitId, dispatch: number): number {
  const number = attemptNumbers(secret, unitId, dispatch)[dispatch - 1];
  if (number === undefined || dispatch > DISPATCH_NUMBER_MAX)
    throw new RangeError(`No unit has an attempt ${dispatch}.`);
  return number;
}

/** The dispatch number of an attempt; null for a number that no attempt at the unit has. */
export function dispatchOf(secret: KeyObject, unitId: UnitId, number: number): number | null {
  const index = attemptNumbers(secret, unitId, DISPATCH_NUMBER_MAX).indexOf(number);
  return index < 0 ? null : index + 1;
}

/** Of a unit's first attempts, in order. */
function attemptNumbers(secret: KeyObject, unitId: UnitId, count: number): readonly number[] {
  const numbers = new Set<number>();
  for (let draw = 1; numbers.size < count; draw++) {
    const hmac = createHmac('sha256', secret).update('attempt.v1').update(idBytes(unitId));
    const drawn = hmac.update(uint32(draw)).digest().readUIntBE(0, 6);
    numbers.add(ATTEMPT_NUMBER_MIN + (drawn % (ATTEMPT_NUMBER_END - ATTEMPT_NUMBER_MIN)));
  }
  return [...numbers];
}

/**
 * A token that authorises one node to send stream frames for one attempt:
 * HMAC-SHA-256(channel secret, unit_id ‖ dispatch as big-endian uint32 ‖ node_id), base64url. The
 * coordinator can check it without a look-up, and it reaches nobody but the node, in its ticket.
 *
 * @param isCheck whether the attempt checks another one, so that its frames are for nobody. Then
 *   'check.v1' stands before the message: only who has the secret can tell the one from the other.
 */
export function makeChannelToken(
  secret: KeyObject,
  context: DispatchContext,
  isCheck = false,
): string {
  const hmac = createHmac('sha256', secret);
  return authenticate(isCheck ? hmac.update('check.v1') : hmac, context);
}

function authenticate(hmac: Hmac, { unitId, dispatch, nodeId }: DispatchContext): string {
  return hmac
    .update(idBytes(unitId))
    .update(uint32(dispatch))
    .update(idBytes(nodeId))
    .digest('base64url');
}

/** Whether a token, from outside perhaps, is that of this attempt; in constant time. */
export function checkChannelToken(
  secret: KeyObject,
  context: DispatchContext,
  token: unknown,
  isCheck = false,
): boolean {
  if (typeof token !== 'string' || !/^[A-Za-z0-9_-]{43}$/.test(token)) return false;
  return sameSecret(token, makeChannelToken(secret, context, isCheck));
}

/** Whether two secrets are the same text, in time that depends on their lengths only. */
export function sameSecret(given: string, expected: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}

function uint32(number: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number);
  return bytes;
}

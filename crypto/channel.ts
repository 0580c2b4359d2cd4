import { createHmac, timingSafeEqual, type KeyObject } from 'node:crypto';
import { idBytes, type NodeId, type UnitId } from '../protocol/ids.ts';

/** The attempt that a channel belongs to. */
export interface DispatchContext {
  readonly unitId: UnitId;
  /** From 1 within the unit; below 2³². */
  readonly dispatch: number;
  readonly nodeId: NodeId;
}

/**
 * A token that authorises one node to send stream frames for one dispatch:
 * HMAC-SHA-256(channel secret, unit_id ‖ dispatch as big-endian uint32 ‖ node_id), base64url. The
 * coordinator can check it without a look-up, and it reaches nobody but the node, in its ticket.
 */
export function makeChannelToken(secret: KeyObject, context: DispatchContext): string {
  const { unitId, dispatch, nodeId } = context;
  const number = Buffer.alloc(4);
  number.writeUInt32BE(dispatch);
  return createHmac('sha256', secret)
    .update(idBytes(unitId))
    .update(number)
    .update(idBytes(nodeId))
    .digest('base64url');
}

/** Whether a token, from outside perhaps, is that of this dispatch; in constant time. */
export function checkChannelToken(
  secret: KeyObject,
  context: DispatchContext,
  token: unknown,
): boolean {
  if (typeof token !== 'string' || !/^[A-Za-z0-9_-]{43}$/.test(token)) return false;
  return sameSecret(token, makeChannelToken(secret, context));
}

/** Whether two secrets are the same text, in time that depends on their lengths only. */
export function sameSecret(given: string, expected: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}

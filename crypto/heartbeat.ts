import { createHmac, type KeyObject } from 'node:crypto';
import { idBytes, type NodeId } from '../protocol/ids.ts';
import type { Challenge } from '../protocol/presence.ts';
import { sameSecret } from './channel.ts';

const NONCE_BYTES = 16;

/**
 * What a node's heartbeat of that number answers: HMAC-SHA-256(channel secret,
 * 'heartbeat.v2' ‖ node_id ‖ sequence as big-endian uint32), its first 16 bytes in base64url. It
 * isn't stored, and who hasn't got it can't have been there when it was given.
 *
 * @param sequence below 2³².
 */
export function challengeOf(secret: KeyObject, nodeId: NodeId, sequence: number): Challenge {
  const number = Buffer.alloc(4);
  number.writeUInt32BE(sequence);
  const hmac = createHmac('sha256', secret).update('heartbeat.v2').update(idBytes(nodeId));
  const nonce = hmac.update(number).digest().subarray(0, NONCE_BYTES).toString('base64url');
  return { sequence, nonce };
}

/** Whether a nonce, from outside perhaps, is that of its sequence number; in constant time. */
export function answersChallenge(
  secret: KeyObject,
  nodeId: NodeId,
  { sequence, nonce }: Challenge,
): boolean {
  return sameSecret(nonce, challengeOf(secret, nodeId, sequence).nonce);
}

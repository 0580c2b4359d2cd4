import { createHash, createHmac } from 'node:crypto';
import { idBytes, type UnitId } from '../protocol/ids.ts';
import type { WrapKey } from './keys.ts';

/**
 * The secret of one sampling epoch: HMAC-SHA-256(sampling key, "sampling.v1" ‖ epoch as big-endian
 * uint32), 64 hex digits. It is derived instead of stored, so that the database holds nothing which
 * predicts a draw; one that is revealed says nothing of the others.
 */
export function epochSecret({ key }: WrapKey, epoch: number): string {
  const number = Buffer.alloc(4);
  number.writeUInt32BE(epoch);
  return createHmac('sha256', key).update('sampling.v1').update(number).digest('hex');
}

/** What commits to a secret: SHA-256 of its 32 bytes, in hex. */
export function secretHash(secret: string): string {
  return createHash('sha256').update(Buffer.from(secret, 'hex')).digest('hex');
}

/** What commits to a policy: SHA-256 of its text in UTF-8, in hex. */
export function policyHash(policyText: string): string {
  return createHash('sha256').update(policyText).digest('hex');
}

/**
 * The draw for one return (design §7): HMAC-SHA-256(epoch secret, unit_id ‖ poe), both as their 32
 * raw bytes; 64 hex digits. The node has fixed its PoE by the time of the draw and can't know the
 * secret, and who knows the secret can't change the PoE: so nobody chooses what is checked.
 */
export function drawOf(secret: string, unitId: UnitId, poe: string): string {
  return mac(secret, unitId, poe).digest('hex');
}

/**
 * What orders the nodes that could check a return, as good as at random: see
 * `activities/schedule.ts`. From the same secret, under a label of its own.
 */
export function checkerOrder(secret: string, unitId: UnitId, poe: string): string {
  return mac(secret, unitId, poe).update('checker.v1').digest('hex');
}

function mac(secret: string, unitId: UnitId, poe: string) {
  return createHmac('sha256', Buffer.from(secret, 'hex'))
    .update(idBytes(unitId))
    .update(Buffer.from(poe, 'hex'));
}

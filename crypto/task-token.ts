import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { idBytes, type NodeId } from '../protocol/ids.ts';
import type { Ring, WrapKey } from './keys.ts';

/** A task token that this network's edges didn't make for this node, or that is out of date. */
export class TaskTokenError extends Error {
  override readonly name = 'TaskTokenError';
}

/** Longer than any execution may take. */
export const TASK_TOKEN_MS = 25 * 3_600_000;

const LABEL = Buffer.from('plx.task-token.v1');
const KID_BYTES = 16;
const IV_BYTES = 12;
const TAG_BYTES = 16;
/** When it expires, and how long the inner token is. */
const PREFIX_BYTES = 8 + 2;
/** Of one length, or a node could tell what kind of work it has by how long the token is. */
const CONTENT_BYTES = 1_024;
/** What a sealed token always has. */
export const TASK_TOKEN_BYTES = KID_BYTES + IV_BYTES + CONTENT_BYTES + TAG_BYTES;

/**
 * Seals Temporal's task token, which is unsigned and says what the task is, to one node:
 * kid (16 bytes) ‖ IV (12) ‖ AES-256-GCM(expiry in ms as uint64 ‖ length as uint16 ‖ token ‖ zeros)
 * ‖ tag (16), with 'plx.task-token.v1' ‖ node_id as additional data. One of Temporal's tokens is of
 * one attempt, so the sealed one is, too.
 *
 * @throws RangeError for a token with more than 1,014 bytes.
 */
export function sealTaskToken(
  [key]: Ring<WrapKey>,
  nodeId: NodeId,
  token: Uint8Array,
  nowMs: number,
): Buffer {
  if (token.length > CONTENT_BYTES - PREFIX_BYTES)
    throw new RangeError(`A task token of ${token.length} bytes is longer than any should be.`);
  const content = Buffer.alloc(CONTENT_BYTES);
  content.writeBigUInt64BE(BigInt(Math.floor(nowMs + TASK_TOKEN_MS)));
  content.writeUInt16BE(token.length, 8);
  content.set(token, PREFIX_BYTES);
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key.key, iv).setAAD(associated(nodeId));
  const sealed = Buffer.concat([cipher.update(content), cipher.final()]);
  return Buffer.concat([kidBytes(key), iv, sealed, cipher.getAuthTag()]);
}

/**
 * Opens what `sealTaskToken` made for this node.
 *
 * @throws TaskTokenError for anything else, whatever is wrong with it.
 */
export function openTaskToken(
  ring: Ring<WrapKey>,
  nodeId: NodeId,
  sealed: Uint8Array,
  nowMs: number,
): Buffer {
  const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
  if (bytes.length !== TASK_TOKEN_BYTES)
    throw new TaskTokenError(`It has ${bytes.length} bytes, not ${TASK_TOKEN_BYTES}.`);
  const kid = bytes.subarray(0, KID_BYTES);
  const key = ring.find((each) => kidBytes(each).equals(kid));
  if (!key) throw new TaskTokenError('It is sealed with a key that is not in the ring.');
  const content = decrypt(key, nodeId, bytes.subarray(KID_BYTES));
  if (content.readBigUInt64BE() < BigInt(Math.floor(nowMs)))
    throw new TaskTokenError('It has expired.');
  return content.subarray(PREFIX_BYTES, PREFIX_BYTES + content.readUInt16BE(8));
}

function decrypt({ key }: WrapKey, nodeId: NodeId, bytes: Buffer): Buffer {
  const iv = bytes.subarray(0, IV_BYTES);
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_BYTES })
      .setAAD(associated(nodeId))
      .setAuthTag(bytes.subarray(-TAG_BYTES));
    const sealed = bytes.subarray(IV_BYTES, -TAG_BYTES);
    return Buffer.concat([decipher.update(sealed), decipher.final()]);
  } catch (cause) {
    throw new TaskTokenError('It is forged, altered, or of another node.', { cause });
  }
}

function associated(nodeId: NodeId): Buffer {
  return Buffer.concat([LABEL, idBytes(nodeId)]);
}

function kidBytes({ kid }: WrapKey): Buffer {
  return Buffer.from(kid, 'base64url');
}

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { generateWrapKey, type Ring, type WrapKey } from '../../crypto/keys.ts';
import {
  openTaskToken,
  sealTaskToken,
  TASK_TOKEN_BYTES,
  TASK_TOKEN_MS,
  TaskTokenError,
} from '../../crypto/task-token.ts';
import { formatNodeId } from '../../protocol/ids.ts';

const ring: Ring<WrapKey> = [generateWrapKey(), generateWrapKey()];
const nodeId = formatNodeId(randomBytes(32));
const tokens = fc.uint8Array({ maxLength: 1_014 });
const times = fc.integer({ min: 0, max: 2 ** 45 });

describe('crypto/task-token', () => {
  it('opens to what was sealed, for its node, and always has the same form', () => {
    fc.assert(
      fc.property(tokens, times, (token, nowMs) => {
        const sealed = sealTaskToken(ring, nodeId, token, nowMs);
        assert.equal(sealed.length, TASK_TOKEN_BYTES);
        assert.deepEqual(sealed.subarray(0, 16), Buffer.from(ring[0].kid, 'base64url'));
        assert.deepEqual(openTaskToken(ring, nodeId, sealed, nowMs), Buffer.from(token));
      }),
    );
  });

  it('opens by any edge with the ring, also after a rotation, and by none without it', () => {
    const sealed = sealTaskToken(ring, nodeId, Buffer.from('task'), 0);
    const rotated: Ring<WrapKey> = [generateWrapKey(), ...ring];
    assert.equal(openTaskToken(rotated, nodeId, sealed, 0).toString(), 'task');
    const others: Ring<WrapKey> = [generateWrapKey()];
    assert.throws(() => openTaskToken(others, nodeId, sealed, 0), TaskTokenError);
    const impostor: Ring<WrapKey> = [{ ...generateWrapKey(), kid: ring[0].kid }];
    assert.throws(() => openTaskToken(impostor, nodeId, sealed, 0), TaskTokenError);
  });

  it('is of no use to another node', () => {
    const ids = fc.uint8Array({ minLength: 32, maxLength: 32 });
    const sealed = sealTaskToken(ring, nodeId, Buffer.from('task'), 0);
    fc.assert(
      fc.property(ids, (id) => {
        const other = formatNodeId(id);
        fc.pre(other !== nodeId);
        assert.throws(() => openTaskToken(ring, other, sealed, 0), TaskTokenError);
      }),
    );
  });

  it('opens with no bit changed, no byte less and none more', () => {
    const sealed = sealTaskToken(ring, nodeId, Buffer.from('task'), 0);
    const bits = fc.integer({ min: 0, max: TASK_TOKEN_BYTES * 8 - 1 });
    const refused = (bytes: Uint8Array) =>
      assert.throws(() => openTaskToken(ring, nodeId, bytes, 0), TaskTokenError);
    fc.assert(
      fc.property(bits, (bit) => {
        const altered = Buffer.from(sealed);
        altered[bit >> 3] = (altered[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        refused(altered);
      }),
    );
    fc.assert(
      fc.property(fc.integer({ min: 0, max: TASK_TOKEN_BYTES - 1 }), (length) =>
        refused(sealed.subarray(0, length)),
      ),
    );
    refused(Buffer.concat([sealed, Buffer.alloc(1)]));
    fc.assert(fc.property(fc.uint8Array({ maxLength: 2 * TASK_TOKEN_BYTES }), refused));
    refused(randomBytes(TASK_TOKEN_BYTES));
  });

  it('expires by itself', () => {
    const sealed = sealTaskToken(ring, nodeId, Buffer.from('task'), 1_000);
    const openAt = (nowMs: number) => openTaskToken(ring, nodeId, sealed, nowMs);
    assert.equal(openAt(1_000 + TASK_TOKEN_MS).toString(), 'task');
    assert.throws(() => openAt(1_001 + TASK_TOKEN_MS), /expired/);
  });

  it('has room for tokens of 1,014 bytes, and says so', () => {
    assert.throws(() => sealTaskToken(ring, nodeId, Buffer.alloc(1_015), 0), RangeError);
  });
});

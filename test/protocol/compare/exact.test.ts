import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { exactV1 } from '../../../protocol/compare/exact.ts';

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

describe('protocol/compare/exact', () => {
  it('agrees with equal bytes alone', () => {
    const any = fc.uint8Array({ maxLength: 8 });
    fc.assert(
      fc.property(any, any, (a, b) => {
        const isEqual = Buffer.from(a).equals(b);
        assert.equal(exactV1.compare(a, b).agrees, isEqual);
        assert.deepEqual(exactV1.compare(a, b), exactV1.compare(b, a));
        assert.deepEqual(exactV1.compare(a, a.slice()), { agrees: true, distance: 0 });
      }),
    );
  });

  it('says what differs, and in how many bytes', () => {
    const different = exactV1.compare(bytes(1, 2, 3), bytes(1, 0, 0));
    assert.deepEqual(different, { agrees: false, reason: 'bytes', distance: 2 });
    const shorter = exactV1.compare(bytes(1, 2, 3), bytes(0));
    assert.deepEqual(shorter, { agrees: false, reason: 'length', distance: 3 });
  });
});

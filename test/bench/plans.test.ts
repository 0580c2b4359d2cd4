import assert from 'node:assert/strict';
import { PARTS, partsOf, type Part } from '../../bench/plans.ts';

describe('bench/plans', () => {
  it('takes all parts, or those that are named, in their order', () => {
    const some: readonly Part[] = ['added', 'streams'];
    assert.deepEqual(partsOf(''), PARTS);
    assert.deepEqual(partsOf('streams,added'), some);
    assert.deepEqual(partsOf('requests'), ['requests']);
  });

  it('names what is no part', () => {
    assert.throws(() => partsOf('added,everything'), { message: /^--only everything: .*streams/ });
    assert.throws(() => partsOf('added,'), RangeError);
  });
});

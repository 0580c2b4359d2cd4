import assert from 'node:assert/strict';
import { Held, KeyedCounts } from '../../edge/limits.ts';

describe('edge/limits', () => {
  it('holds so much for a key, and so much for all', () => {
    const held = new Held(10, 15);
    assert.ok(held.hold('a', 10));
    assert.ok(!held.hold('a', 1));
    assert.ok(!held.hold('b', 5), 'with that one it is too much for all');
    held.release('a', 11);
    assert.ok(held.hold('b', 5));
    assert.ok(held.hold('a', 5));
  });

  it('counts what each key has', () => {
    const counts = new KeyedCounts(2);
    assert.deepEqual(
      [1, 2, 3].map(() => counts.acquire('a')),
      [true, true, false],
    );
    assert.ok(counts.acquire('b'));
    counts.release('a');
    assert.ok(counts.acquire('a'));
    counts.release('a');
    counts.release('a');
    assert.deepEqual([counts.of('a'), counts.of('b')], [0, 1]);
  });
});

import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { differences, percentile, ratios, spread } from '../../bench/statistics.ts';

const values = fc.array(fc.double({ noNaN: true, min: 0, max: 1e6 }), { minLength: 1 });

describe('bench/statistics', () => {
  it('gives nearest-rank percentiles', () => {
    const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
    assert.equal(percentile(hundred, 50), 50);
    assert.equal(percentile(hundred, 95), 95);
    assert.equal(percentile(hundred, 100), 100);
    assert.equal(percentile([7], 1), 7);
  });

  it('gives a value that was measured, with at least that share at or below it', () => {
    fc.assert(
      fc.property(values, fc.double({ min: 0.1, max: 100, noNaN: true }), (measured, percent) => {
        const found = percentile(measured, percent);
        assert.ok(measured.includes(found));
        const below = measured.filter((value) => value <= found).length;
        assert.ok((below * 100) / measured.length >= percent - 1e-9);
      }),
    );
  });

  it('refuses what has no percentile', () => {
    assert.throws(() => percentile([], 50), RangeError);
    for (const percent of [0, -1, 101, Number.NaN])
      assert.throws(() => percentile([1, 2], percent), RangeError);
  });

  it('spreads, divides and subtracts repetition by repetition', () => {
    assert.deepEqual(spread([3, 1, 2]), { min: 1, median: 2, max: 3 });
    assert.deepEqual(ratios([1, 4], [2, 2]), [0.5, 2]);
    assert.deepEqual(differences([1, 4], [2, 2]), [-1, 2]);
  });
});

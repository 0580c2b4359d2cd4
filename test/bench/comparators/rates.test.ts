import assert from 'node:assert/strict';
import { measureRates, totalRate, upperBound } from '../../../bench/comparators/rates.ts';
import { exactV1 } from '../../../protocol/compare/exact.ts';

describe('bench/comparators/rates', () => {
  it('counts false alarms and misses by kind', () => {
    const [a, b] = [Uint8Array.of(1), Uint8Array.of(2)];
    const rates = measureRates(exactV1, [
      { kind: 'honest', isHonest: true, a, b: a },
      { kind: 'honest', isHonest: true, a, b },
      { kind: 'cheat', isHonest: false, a, b },
      { kind: 'lucky', isHonest: false, a, b: a },
    ]);
    assert.deepEqual(rates, [
      { kind: 'honest', isHonest: true, pairs: 2, errors: 1 },
      { kind: 'cheat', isHonest: false, pairs: 1, errors: 0 },
      { kind: 'lucky', isHonest: false, pairs: 1, errors: 1 },
    ]);
    assert.deepEqual(totalRate(rates, false), {
      kind: 'all',
      isHonest: false,
      pairs: 2,
      errors: 1,
    });
  });

  it('bounds the rate as Clopper and Pearson do', () => {
    // R: binom.test(errors, pairs, alternative = "less")$conf.int[2], and 1 - 0.05^(1 / pairs).
    const known: [pairs: number, errors: number, bound: number][] = [
      [300, 0, 1 - 0.05 ** (1 / 300)],
      [10, 0, 1 - 0.05 ** (1 / 10)],
      [10, 1, 0.39416],
      [100, 5, 0.10225],
      [10, 10, 1],
    ];
    for (const [pairs, errors, bound] of known)
      assert.ok(Math.abs(upperBound({ pairs, errors }) - bound) < 1e-4, `${errors} of ${pairs}`);
  });
});

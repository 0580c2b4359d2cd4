import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import {
  compareNumeric,
  numericV1,
  ulpsBetween,
  type NumericResult,
  type Tolerance,
} from '../../../protocol/compare/numeric.ts';

const EXACT: Tolerance = { absolute: 0, relative: 0, ulps: 0, precision: 'float64' };
const agrees = (a: NumericResult, b: NumericResult, by: Partial<Tolerance>) =>
  compareNumeric(a, b, { ...EXACT, ...by }).agrees;

/** Numbers with all special ones, in any nesting. */
const results: fc.Memo<NumericResult> = fc.memo((depth) => {
  const number = fc.oneof(fc.double(), fc.float(), fc.constantFrom(0, -0, NaN, 5e-324, 1e300));
  if (depth <= 1) return number;
  const inner = results(depth - 1);
  const lists = fc.array(inner, { maxLength: 3 });
  const records = fc.dictionary(fc.constantFrom('a', 'b', '__proto__', 'length'), inner);
  return fc.oneof(number, lists, records, fc.float32Array({ maxLength: 3 }));
});
const tolerances = fc.record({
  absolute: fc.constantFrom(0, 1e-3, 1),
  relative: fc.constantFrom(0, 1e-3, 1),
  ulps: fc.constantFrom(0, 4),
  precision: fc.constantFrom('float32', 'float64'),
});

describe('protocol/compare/numeric', () => {
  it('is symmetric, and agrees with itself by any tolerance', () => {
    fc.assert(
      fc.property(results(3), results(3), tolerances, (a, b, by) => {
        assert.deepEqual(compareNumeric(a, b, by), compareNumeric(b, a, by));
        assert.deepEqual(compareNumeric(a, a, by), { agrees: true, distance: 0 });
        assert.equal(numericV1.compare(a, b).agrees, numericV1.compare(b, a).agrees);
      }),
      { numRuns: 500 },
    );
  });

  const cases: [string, number, number, Partial<Tolerance>, boolean][] = [
    ['the absolute limit', 1, 1.5, { absolute: 0.5 }, true],
    ['just above it', 1, 1.51, { absolute: 0.5 }, false],
    ['a share of the larger one', 100, 110, { relative: 0.1 }, true],
    ['more than that share', 100, 112, { relative: 0.1 }, false],
    ['no share of zero', 0, 1e-300, { relative: 0.1 }, false],
    ['either of two tolerances', 0, 1e-9, { relative: 0.1, absolute: 1e-8 }, true],
    ['another sign, by a share', 1, -1, { relative: 1 }, false],
    ['the next number', 1, 1 + 2 ** -52, { ulps: 1 }, true],
    ['the one after it', 1, 1 + 2 ** -51, { ulps: 1 }, false],
    ['across zero', 5e-324, -5e-324, { ulps: 2 }, true],
    ['the next float32', 1, 1 + 2 ** -23, { ulps: 1, precision: 'float32' }, true],
    ['the float32 after it', 1, 1 + 2 ** -22, { ulps: 1, precision: 'float32' }, false],
    ['the same float32 without a tolerance', 1, 1 + 2 ** -40, { precision: 'float32' }, false],
    ['what overflows in float32', 1e200, 1e300, { ulps: 1e9, precision: 'float32' }, false],
    ['opposite ends', 1.7e308, -1.7e308, { relative: 1, absolute: 1e308 }, false],
    ['minus zero', 0, -0, {}, true],
    ['NaN', NaN, NaN, {}, true],
    ['NaN and a number', NaN, 0, { absolute: 1e300, relative: 1, ulps: 1e18 }, false],
    ['an infinity', Infinity, Infinity, {}, true],
    ['two infinities', Infinity, -Infinity, { absolute: 1e300, relative: 1, ulps: 1e19 }, false],
    ['an infinity and the largest number', Infinity, Number.MAX_VALUE, { ulps: 1 }, false],
  ];
  for (const [name, a, b, by, expected] of cases)
    it(`${expected ? 'tolerates' : 'refuses'} ${name}`, () => {
      assert.equal(agrees([a], [b], by), expected);
    });

  it('refuses another shape', () => {
    const pairs: [NumericResult, NumericResult][] = [
      [[1], [1, 1]],
      [[1], 1],
      [[[1]], [1]],
      [{ a: 1 }, { b: 1 }],
      [{ a: 1 }, { a: 1, b: 1 }],
      [{ 0: 1 }, [1]],
      [{ a: { toString: 1 } }, { a: {} }],
    ];
    const by = { absolute: 1e300, relative: 1 };
    for (const [a, b] of pairs)
      for (const [x, y] of [
        [a, b],
        [b, a],
      ] as const) {
        const found = compareNumeric(x, y, { ...EXACT, ...by });
        assert.deepEqual(found, { agrees: false, reason: 'shape' }, JSON.stringify([x, y]));
      }
  });

  it('takes typed arrays as lists', () => {
    assert.ok(agrees(Float32Array.of(1, 2), [1, 2], {}));
    assert.ok(!agrees(Float64Array.of(0.1), Float32Array.of(0.1), {}));
  });

  it('is not brought down by deep nesting', () => {
    let deep: NumericResult = 1;
    for (let level = 0; level < 100_000; level++) deep = [deep];
    assert.ok(numericV1.compare(deep, deep).agrees);
    assert.ok(!numericV1.compare(deep, [deep]).agrees);
  });

  it('tells how far apart the worst two are, by what is tolerated', () => {
    const found = compareNumeric([0, 0], [1, 3], { ...EXACT, absolute: 2 });
    assert.deepEqual(found, { agrees: false, reason: 'numbers', distance: 1.5 });
  });

  it('counts steps between numbers', () => {
    assert.equal(ulpsBetween(0, Number.MIN_VALUE, 'float64'), 1);
    assert.equal(ulpsBetween(-Number.MIN_VALUE, Number.MIN_VALUE, 'float64'), 2);
    assert.equal(ulpsBetween(1, 2, 'float64'), 2 ** 52);
    assert.equal(ulpsBetween(1, 2, 'float32'), 2 ** 23);
    assert.equal(ulpsBetween(-0, 0, 'float32'), 0);
  });
});

import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import {
  EQUAL_FACTORS,
  isFactor,
  isWhole,
  PRIORITIES,
  priceMatrix,
} from '../../protocol/prices.ts';

const wei = fc.bigInt({ min: 0n, max: 10n ** 30n - 1n });
/** In ten thousandths, and as a factor is written. */
const factor = fc.nat(99_999_999).map((parts) => {
  const decimals = String(parts % 10_000)
    .padStart(4, '0')
    .replace(/0+$/, '');
  return { parts, text: `${Math.floor(parts / 10_000)}${decimals ? `.${decimals}` : ''}` };
});

describe('protocol/prices', () => {
  it('multiplies exactly, and rounds up what is less than a wei', () => {
    const factors = fc.record({
      tiers: fc.array(factor, { minLength: 5, maxLength: 5 }),
      priorities: fc.record({ standard: factor, expedited: factor, urgent: factor }),
    });
    fc.assert(
      fc.property(wei, wei, factors, (promptWei, completionWei, { tiers, priorities }) => {
        const { standard, expedited, urgent } = priorities;
        const matrix = priceMatrix(
          { promptWei, completionWei },
          {
            tiers: tiers.map(({ text }) => text),
            priorities: {
              standard: standard.text,
              expedited: expedited.text,
              urgent: urgent.text,
            },
          },
        );
        assert.ok(isWhole(matrix));
        for (const price of matrix) {
          const tier = tiers[price.hardwareTier - 1]?.parts ?? assert.fail();
          const parts = BigInt(tier) * BigInt(priorities[price.priority].parts);
          for (const [base, got] of [
            [promptWei, price.promptWei],
            [completionWei, price.completionWei],
          ] as const) {
            const over = got * 10n ** 8n - base * parts;
            assert.ok(over >= 0n && over < 10n ** 8n, `${base} × ${parts} is not ${got}`);
          }
        }
      }),
    );
  });

  it('gives each tier and priority the base price when nothing else is said', () => {
    const matrix = priceMatrix({ promptWei: 3n, completionWei: 7n }, EQUAL_FACTORS);
    assert.equal(matrix.length, 15);
    for (const { promptWei, completionWei } of matrix)
      assert.deepEqual([promptWei, completionWei], [3n, 7n]);
  });

  it('takes no other factors than decimals of up to four places', () => {
    for (const text of ['0', '1', '1.5', '0.0001', '999999.9999']) assert.ok(isFactor(text), text);
    for (const text of ['', '.5', '1.', '-1', '1e3', '1.00001', '1000000', ' 1', '٣', '1,5'])
      assert.ok(!isFactor(text), text);
    const broken = { ...EQUAL_FACTORS, tiers: ['1', '1', 'x', '1', '1'] };
    assert.throws(() => priceMatrix({ promptWei: 1n, completionWei: 1n }, broken), RangeError);
  });

  it('knows a matrix that lacks a place, or has one twice', () => {
    const [first, ...others] = priceMatrix({ promptWei: 1n, completionWei: 1n }, EQUAL_FACTORS);
    assert.ok(first);
    assert.ok(!isWhole(others));
    assert.ok(!isWhole([...others, others[0] ?? first]));
    assert.ok(!isWhole([first, ...others, first]));
    assert.deepEqual(new Set(PRIORITIES), new Set(['standard', 'expedited', 'urgent']));
  });
});

import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { FINAL_STATES } from '../../protocol/lifecycle.ts';
import { cancelledUsage, dueWei, priceWei, settlement } from '../../protocol/settle.ts';

const wei = fc.bigInt({ min: 0n, max: 10n ** 77n });
const tokens = fc.integer({ min: 0, max: 0xffff_ffff });
const state = fc.constantFrom(...FINAL_STATES);

describe('protocol/settle settlement', () => {
  it('splits exactly what was reserved, and never captures more', () => {
    fc.assert(
      fc.property(state, wei, wei, (state, reservedWei, usedWei) => {
        const { captureWei, releaseWei } = settlement(state, reservedWei, usedWei);
        assert.equal(captureWei + releaseWei, reservedWei);
        assert.ok(captureWei >= 0n && releaseWei >= 0n);
        assert.ok(captureWei <= usedWei);
      }),
    );
  });

  it('captures what delivered work used, up to the reservation', () => {
    assert.deepEqual(settlement('completed', 100n, 30n), { captureWei: 30n, releaseWei: 70n });
    assert.deepEqual(settlement('completed', 100n, 100n), { captureWei: 100n, releaseWei: 0n });
    assert.deepEqual(settlement('completed', 100n, 101n), { captureWei: 100n, releaseWei: 0n });
  });

  it('is free for every state but completed and cancelled', () => {
    for (const state of FINAL_STATES) {
      const { captureWei } = settlement(state, 100n, 30n);
      assert.equal(captureWei, ['completed', 'cancelled'].includes(state) ? 30n : 0n, state);
    }
  });

  it('is exact beyond the doubles', () => {
    const reservedWei = 10n ** 60n + 1n;
    const { captureWei, releaseWei } = settlement('completed', reservedWei, 10n ** 60n);
    assert.deepEqual([captureWei, releaseWei], [10n ** 60n, 1n]);
  });
});

describe('protocol/settle cancelledUsage', () => {
  const usage = fc.record({ promptTokens: tokens, completionTokens: tokens });

  it('charges the smaller of what was proved and what was streamed', () => {
    const proved = { promptTokens: 7, completionTokens: 5 };
    assert.deepEqual(cancelledUsage(proved, 3), { promptTokens: 7, completionTokens: 3 });
    assert.deepEqual(cancelledUsage(proved, 5), proved);
    assert.deepEqual(cancelledUsage(proved, 9), proved);
  });

  it('is free when nothing was streamed, the prompt too', () => {
    fc.assert(
      fc.property(usage, (proved) => {
        assert.deepEqual(cancelledUsage(proved, 0), { promptTokens: 0, completionTokens: 0 });
      }),
    );
  });

  it('never exceeds the proof, the frames or the reservation, and conserves that', () => {
    const price = fc.record({ promptWei: wei, completionWei: wei });
    fc.assert(
      fc.property(usage, tokens, price, wei, (proved, frames, prices, reserved) => {
        const charged = cancelledUsage(proved, frames);
        assert.ok(charged.completionTokens <= frames);
        assert.ok(charged.completionTokens <= proved.completionTokens);
        assert.ok(charged.promptTokens <= proved.promptTokens);
        const decimal = {
          price: {
            promptWei: prices.promptWei.toString(),
            completionWei: prices.completionWei.toString(),
          },
          reservedWei: reserved.toString(),
        };
        const due = dueWei(charged, decimal);
        assert.ok(due <= reserved && due <= priceWei(proved, prices));
        const { captureWei, releaseWei } = settlement('cancelled', reserved, due);
        assert.equal(captureWei, due);
        assert.equal(captureWei + releaseWei, reserved);
      }),
    );
  });
});

describe('protocol/settle priceWei', () => {
  it('charges nothing for nothing, and each further token exactly its price', () => {
    fc.assert(
      fc.property(tokens, tokens, wei, wei, (prompt, completion, promptWei, completionWei) => {
        const cost = (promptTokens: number, completionTokens: number) =>
          priceWei({ promptTokens, completionTokens }, { promptWei, completionWei });
        assert.equal(cost(0, 0), 0n);
        assert.equal(cost(prompt + 1, completion) - cost(prompt, completion), promptWei);
        assert.equal(cost(prompt, completion + 1) - cost(prompt, completion), completionWei);
      }),
    );
  });

  it('prices prompt and completion apart', () => {
    const price = { promptWei: 2n, completionWei: 10n ** 30n + 7n };
    const usage = { promptTokens: 3, completionTokens: 4 };
    assert.equal(priceWei(usage, price), 4_000_000_000_000_000_000_000_000_000_034n);
  });
});

import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { Random } from '../../bench/sim/random.ts';
import {
  medianChecksToRemoval,
  removedWithin,
  sprtChain,
  waldChecksPerTest,
} from '../../bench/trust/sprt-chain.ts';
import { HONEST_ERROR_RATE_MIN, observe, sprtPlan } from '../../protocol/sprt.ts';

const rate = fc.double({ min: 0, max: 0.099, noNaN: true });
const plan = rate.map(sprtPlan);
const PLAN = sprtPlan(HONEST_ERROR_RATE_MIN);
const [UPPER, LOWER] = [Math.log(0.95 / 4e-6), Math.log(0.05 / (1 - 4e-6))];

describe('protocol/sprt: a plan', () => {
  it('takes no class to be more exact than 0.1 %', () => {
    fc.assert(
      fc.property(rate, (honest) => {
        const expected = { e0: Math.max(honest, 0.001), e1: 0.1, alpha: 4e-6, beta: 0.05 };
        assert.deepEqual(sprtPlan(honest), expected);
      }),
    );
  });

  it('refuses what is no honest error rate', () => {
    for (const honest of [0.1, 0.5, 1, -0.001, NaN, Infinity, -Infinity])
      assert.throws(() => sprtPlan(honest), RangeError);
  });
});

describe('protocol/sprt: an observation', () => {
  it('stays finite and between its limits, whatever comes', () => {
    fc.assert(
      fc.property(plan, fc.array(fc.boolean(), { maxLength: 2_000 }), (plan, checks) => {
        let logRatio = 0;
        for (const agrees of checks) {
          const observed = observe(logRatio, agrees, plan);
          assert.ok(Number.isFinite(observed.logRatio));
          if (observed.verdict === 'remove') {
            assert.ok(!agrees && observed.logRatio >= UPPER);
            return;
          }
          if (observed.verdict === 'clear') assert.ok(agrees && observed.logRatio === 0);
          assert.ok(LOWER < observed.logRatio && observed.logRatio < UPPER);
          logRatio = observed.logRatio;
        }
      }),
    );
  });

  it('counts by how much likelier it is of a bad node', () => {
    fc.assert(
      fc.property(plan, fc.double({ min: -2.8, max: 7, noNaN: true }), (plan, before) => {
        const [lost, won] = [observe(before, false, plan), observe(before, true, plan)];
        assert.equal(lost.logRatio, before + Math.log(plan.e1 / plan.e0));
        assert.ok(lost.logRatio > before);
        assert.ok(won.verdict === 'clear' || won.logRatio < before);
        assert.notEqual(lost.verdict, 'clear');
        assert.notEqual(won.verdict, 'remove');
      }),
    );
  });

  it('removes only by a check that was lost, and never by one or two of them', () => {
    let logRatio = 0;
    const verdicts = Array.from({ length: 3 }, (): string => {
      const observed = observe(logRatio, false, PLAN);
      logRatio = observed.logRatio;
      return observed.verdict;
    });
    assert.deepEqual(verdicts, ['continue', 'continue', 'remove']);
  });

  it('excuses nothing by a good past', () => {
    let logRatio = 0;
    for (let check = 0; check < 29 * 1_000; check++) {
      const observed = observe(logRatio, true, PLAN);
      assert.equal(observed.verdict, check % 29 === 28 ? 'clear' : 'continue');
      logRatio = observed.logRatio;
    }
    assert.equal(logRatio, 0);
  });

  it('refuses a ratio by which nothing can be decided', () => {
    for (const broken of [NaN, Infinity, -Infinity])
      assert.throws(() => observe(broken, true, PLAN), RangeError);
  });
});

describe('protocol/sprt: operating characteristic, exactly', () => {
  /** By `observe` itself: the chance of every log ratio there can be. */
  function removedByObserving(errorRate: number, checks: number): number {
    let now = new Map([['0', { logRatio: 0, probability: 1 }]]);
    let removed = 0;
    for (let check = 0; check < checks; check++) {
      const next: typeof now = new Map();
      for (const state of now.values())
        for (const agrees of [true, false]) {
          const probability = state.probability * (agrees ? 1 - errorRate : errorRate);
          const { logRatio, verdict } = observe(state.logRatio, agrees, PLAN);
          if (verdict === 'remove') removed += probability;
          const key = logRatio.toFixed(9);
          const known = next.get(key)?.probability ?? 0;
          if (verdict !== 'remove') next.set(key, { logRatio, probability: known + probability });
        }
      now = next;
    }
    return removed;
  }

  it('is that of the chain by which it is computed', () => {
    for (const errorRate of [0.001, 0.01, 0.1, 0.5, 1]) {
      const expected = removedByObserving(errorRate, 300);
      const chain = removedWithin(errorRate, PLAN, 300)[300] ?? NaN;
      assert.ok(Math.abs(chain - expected) < 1e-12 + 1e-6 * expected, `${errorRate}: ${chain}`);
    }
  });

  it("keeps Wald's bounds on both errors", () => {
    fc.assert(
      // The closer e0 and e1 are, the longer a test takes, and the chain.
      fc.property(fc.double({ min: 0, max: 0.02, noNaN: true }).map(sprtPlan), (plan) => {
        const { alpha, beta, e0, e1 } = plan;
        assert.ok(sprtChain(e0, plan).removeProbability <= alpha / (1 - beta));
        assert.ok(1 - sprtChain(e1, plan).removeProbability <= beta / (1 - alpha));
      }),
      { numRuns: 20 },
    );
  });

  it("takes as long as Wald's approximation says, and a little longer", () => {
    for (const e0 of [0.001, 0.01, 0.02]) {
      const plan = sprtPlan(e0);
      const wald = waldChecksPerTest(plan);
      const ratios = [
        sprtChain(plan.e0, plan).checksPerTest / wald.e0,
        sprtChain(plan.e1, plan).checksPerTest / wald.e1,
      ];
      for (const ratio of ratios) assert.ok(ratio > 1 && ratio < 1.2, `${e0}: ${ratio}`);
    }
  });

  it('removes cheaters soon', () => {
    const median = (errorRate: number, e0: number) =>
      medianChecksToRemoval(errorRate, sprtPlan(e0), 10_000);
    const medians = [1, 0.1, 0.05, 0.01].map((errorRate) => median(errorRate, 0.001));
    assert.deepEqual(medians, [3, 36, 84, 4_200]);
    assert.equal(median(0.1, 0.01), 84);
  });

  it('removes honest nodes hardly ever, and tells how much worse than that is tolerated', () => {
    const removed = (errorRate: number) => removedWithin(errorRate, PLAN, 10_000)[10_000] ?? NaN;
    const near = (actual: number, expected: number) =>
      assert.ok(Math.abs(actual / expected - 1) < 0.01, `${actual}, not ${expected}`);
    near(removed(0.001), 3.44e-4);
    near(removed(0.002), 4.01e-3);
    near(removed(0.005), 0.116);
    near(sprtChain(0.001, PLAN).checksToRemoval, 2.9e7);
    near(sprtChain(0.002, PLAN).checksToRemoval, 2.48e6);
    near(sprtChain(0.005, PLAN).checksToRemoval, 80_740);
  });
});

describe('protocol/sprt: operating characteristic, simulated', () => {
  /** Checks until the node is removed; `checksMax` + 1 if it isn't by then. */
  function checksToRemoval(random: Random, errorRate: number, checksMax: number): number {
    let logRatio = 0;
    for (let check = 1; check <= checksMax; check++) {
      const observed = observe(logRatio, !random.chance(errorRate), PLAN);
      if (observed.verdict === 'remove') return check;
      logRatio = observed.logRatio;
    }
    return checksMax + 1;
  }

  it('removes about no honest node in 1,500 runs of 10,000 checks', () => {
    const random = new Random(7);
    const runs = Array.from({ length: 1_500 }, () => checksToRemoval(random, 0.001, 10_000));
    const removed = runs.filter((checks) => checks <= 10_000).length;
    // 0.5 are to be expected; five or more come once in 5,000 seeds.
    assert.ok(removed < 5, `${removed}`);
  });

  for (const [errorRate, within] of [
    [0.01, 4_200],
    [0.05, 84],
    [0.1, 36],
    [0.1, 100],
  ] as const)
    it(`removes who loses ${errorRate * 100} % within ${within} checks, as computed`, () => {
      const [random, runs] = [new Random(11), 1_000];
      const removed = Array.from({ length: runs }, () =>
        checksToRemoval(random, errorRate, within),
      ).filter((checks) => checks <= within).length;
      const expected = removedWithin(errorRate, PLAN, within)[within] ?? NaN;
      const standardError = Math.sqrt((expected * (1 - expected)) / runs);
      assert.ok(Math.abs(removed / runs - expected) < 4 * standardError, `${removed} of ${runs}`);
    });
});

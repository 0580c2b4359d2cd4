import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { executeLimits } from '../../protocol/execute.ts';
import {
  attestedTier,
  blend,
  isUnchanged,
  CANARY_DEADLINE_SECONDS,
  CANARY_LOST_SECONDS,
  canaryLimits,
  isMeasuredAgain,
  probeBackoffSeconds,
  remeasure,
  throughput,
  TIER_FLOORS_DEFAULT,
  type Measured,
  type MeasuredClaims,
} from '../../protocol/measure.ts';
import { HARDWARE_TIER_MAX } from '../../protocol/receive.ts';

const NEVER: Measured = { tokens: 0, seconds: 0 };
const anyNumber = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(NaN, Infinity, -Infinity, 0));
const sample = fc.record({
  tokens: fc.double({ min: 1, max: 1e6, noNaN: true }),
  seconds: fc.double({ min: 0.001, max: 1e6, noNaN: true }),
});
const measureAll = (samples: readonly Measured[]) =>
  samples.reduce((known, { tokens, seconds }) => blend(known, tokens, seconds), NEVER);

describe('protocol/measure', () => {
  it('is never NaN, zero or infinite once measured, whatever the samples were', () => {
    const samples = fc.array(fc.record({ tokens: anyNumber, seconds: anyNumber }), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(samples, sample, (strange, good) => {
        const rate = throughput(measureAll([...strange, good]));
        assert.ok(Number.isFinite(rate) && rate > 0, String(rate));
      }),
    );
    assert.equal(throughput(NEVER), 0);
  });

  it('lies between the slowest and the fastest sample', () => {
    fc.assert(
      fc.property(fc.array(sample, { minLength: 1, maxLength: 40 }), (samples) => {
        const rates = samples.map(throughput);
        const rate = throughput(measureAll(samples));
        assert.ok(rate >= Math.min(...rates) * (1 - 1e-9), 'too slow');
        assert.ok(rate <= Math.max(...rates) * (1 + 1e-9), 'too fast');
      }),
    );
  });

  it('errs towards slower: equal samples of work count by the time they took', () => {
    const seconds = fc.double({ min: 0.001, max: 1e3, noNaN: true });
    fc.assert(
      fc.property(seconds, seconds, (one, other) => {
        const rate = throughput(measureAll([one, other].map((s) => ({ tokens: 100, seconds: s }))));
        const newer = 100 / other;
        const mean = (0.95 * (100 / one) + newer) / 1.95;
        assert.ok(rate <= mean * (1 + 1e-9), `${rate} of ${mean}`);
      }),
    );
  });

  it('follows a node that became another one', () => {
    const fast = Array.from({ length: 200 }, () => ({ tokens: 100, seconds: 1 }));
    const slow = Array.from({ length: 100 }, () => ({ tokens: 100, seconds: 10 }));
    const known = measureAll(fast);
    assert.ok(throughput(known) > 99);
    const rate = throughput(slow.reduce((k, s) => blend(k, s.tokens, s.seconds), known));
    assert.ok(rate > 9.9 && rate < 10.1, String(rate));
  });

  it('attests no tier above the claim, and none whose floor is not cleared', () => {
    const floors = fc
      .array(fc.double({ min: 0, max: 1e4, noNaN: true }), { minLength: 4, maxLength: 4 })
      .map((above) => [0, ...above.toSorted((a, b) => a - b)]);
    const rates = fc.double({ min: 1e-6, max: 1e5, noNaN: true });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), rates, floors, (claimed, rate, tiers) => {
        const tier = attestedTier(claimed, rate, tiers);
        assert.ok(tier >= 1 && tier <= claimed);
        assert.ok((tiers[tier - 1] ?? Infinity) <= rate);
        if (tier < claimed) assert.ok((tiers[tier] ?? Infinity) > rate, 'it could be more');
      }),
    );
    assert.equal(attestedTier(5, 3, TIER_FLOORS_DEFAULT), 3);
    assert.equal(TIER_FLOORS_DEFAULT.length, HARDWARE_TIER_MAX);
  });

  it('waits longer after each canary that failed, and never longer than a minute', () => {
    const waits = [1, 2, 3, 4, 5, 6, 5_000].map(probeBackoffSeconds);
    assert.deepEqual(waits, [5, 10, 20, 40, 60, 60, 60]);
  });

  it('counts no canary as lost that may still be under way', () => {
    let longestMs = 0;
    for (let attempt = 1, again = true; again; attempt++) {
      const limits = canaryLimits(executeLimits(CANARY_DEADLINE_SECONDS, 1_000), attempt);
      longestMs += limits.scheduleToStartMs + limits.startToCloseMs;
      again = isMeasuredAgain(attempt, limits.startToCloseMs);
    }
    const longestSeconds = longestMs / 1_000;
    assert.ok(longestSeconds > 50, 'two executions');
    assert.ok(longestSeconds + 5 < CANARY_LOST_SECONDS, String(longestSeconds));
  });

  const known: MeasuredClaims & Measured = {
    machineId: 'mc_1',
    modelDigest: 'sha256:a',
    engine: 'e/1',
    tier: 3,
    slots: 2,
    encryptionKey: 'AAAA',
    tokens: 10,
    seconds: 1,
  };
  const changes: [Partial<typeof known>, ReturnType<typeof remeasure>][] = [
    [{}, 'keep'],
    [{ tier: 2, slots: 1 }, 'keep'],
    [{ tier: 4 }, 'probe'],
    [{ slots: 3 }, 'probe'],
    [{ encryptionKey: 'BBBB' }, 'probe'],
    [{ engine: 'e/2', tier: 4 }, 'anew'],
    [{ modelDigest: 'sha256:b' }, 'anew'],
    [{ machineId: 'mc_2' }, 'anew'],
  ];
  for (const [changed, expected] of changes)
    it(`lets what was measured ${expected} for ${JSON.stringify(changed)}`, () => {
      assert.equal(remeasure(known, { ...known, ...changed }), expected);
    });

  it('knows a node that claims what it claimed', () => {
    assert.ok(isUnchanged(known, { ...known }));
    for (const [changed] of changes.slice(1))
      assert.ok(!isUnchanged(known, { ...known, ...changed }), JSON.stringify(changed));
  });

  it('measures anew what was never measured', () => {
    assert.equal(remeasure({ ...known, ...NEVER }, known), 'anew');
  });
});

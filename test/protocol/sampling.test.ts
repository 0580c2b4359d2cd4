import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { canonicalText } from '../../protocol/canonical.ts';
import {
  drawPpm,
  FLOOR_PPM,
  parsePolicy,
  PPM,
  PROBATION_UNITS,
  ratePpm,
  samplingPolicy,
} from '../../protocol/sampling.ts';

const draw = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes): string => Buffer.from(bytes).toString('hex'));

describe('protocol/sampling', () => {
  it('has the rates of the classes, unless the network sets others', () => {
    assert.deepEqual(samplingPolicy(), {
      v: 1,
      ratesPpm: { 'ai.inference': 50_000 },
      floorPpm: 20_000,
      probationUnits: 20,
    });
    assert.equal(samplingPolicy({ 'ai.inference': 0.5 }).ratesPpm['ai.inference'], 500_000);
    assert.equal(samplingPolicy({ 'ai.inference': 1 }).ratesPpm['ai.inference'], PPM);
  });

  it('refuses rates below the floor, above 1, and of no class', () => {
    for (const rate of [0, 0.019, 1.01, NaN, Infinity, -1])
      assert.throws(() => samplingPolicy({ 'ai.inference': rate }), RangeError, String(rate));
    assert.throws(() => samplingPolicy({ 'ai.training': 0.5 }), RangeError);
  });

  it('reads back what it publishes, and nothing else', () => {
    const policy = samplingPolicy({ 'ai.inference': 0.25 });
    assert.deepEqual(parsePolicy(canonicalText(policy)), policy);
    for (const text of ['{}', '{"v":2}', 'x', JSON.stringify({ ...policy, extra: 1 })])
      assert.throws(() => parsePolicy(text));
  });

  it('checks all of a new node, then the rate, and never less than the floor', () => {
    const policy = samplingPolicy();
    assert.equal(ratePpm(policy, 'ai.inference', 0), PPM);
    assert.equal(ratePpm(policy, 'ai.inference', PROBATION_UNITS - 1), PPM);
    assert.equal(ratePpm(policy, 'ai.inference', PROBATION_UNITS), 50_000);
    assert.equal(ratePpm(policy, 'unheard of', PROBATION_UNITS), FLOOR_PPM);
  });

  it('compares exactly: draw < rate · 2²⁵⁶ for rates of whole parts per million', () => {
    fc.assert(
      fc.property(draw, fc.integer({ min: 0, max: PPM }), (hex, rate) => {
        const isBelow = BigInt(`0x${hex}`) * BigInt(PPM) < BigInt(rate) << 256n;
        assert.equal(drawPpm(hex) < rate, isBelow);
      }),
    );
    assert.equal(drawPpm('0'.repeat(64)), 0);
    assert.equal(drawPpm('f'.repeat(64)), PPM - 1);
  });
});

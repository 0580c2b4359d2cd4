import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { compareMean, compareShare, isReproduced } from '../../../bench/trust/comparison.ts';
import { Draws } from '../../../bench/trust/draws.ts';
import { experiments } from '../../../bench/trust/experiments.ts';
import * as formulas from '../../../bench/trust/formulas.ts';
import { renderComparisons } from '../../../bench/trust/report.ts';
import { Random } from '../../../bench/sim/random.ts';

const near = (actual: number, expected: number, digits: number) =>
  assert.equal(actual.toFixed(digits), expected.toFixed(digits));

describe('bench/trust: closed forms', () => {
  it('give the numbers that are known', () => {
    for (const [rate, units] of [
      [0.01, [299, 2_995, 29_956]],
      [0.05, [59, 598, 5_990]],
      [0.1, [29, 299, 2_995]],
    ] as const)
      assert.deepEqual(
        [1, 0.1, 0.01].map((wrongShare) => formulas.unitsUntilDetected({ rate, wrongShare }, 0.95)),
        units,
      );
    const batch = [1, 5, 14, 28].map((bad) => formulas.batchDetectionProbability(142, bad, 14));
    assert.deepEqual(
      batch.map((chance) => chance.toFixed(2)),
      ['0.10', '0.41', '0.78', '0.96'],
    );
    near(formulas.falseAlarmProbability(0.01, 100), 0.63, 2);
    near(1 - formulas.fixedPlanAcceptance(129, 7, 0.01), 5e-5, 5);
    near(formulas.fixedPlanAcceptance(129, 7, 0.1), 0.048, 3);
    near(formulas.unseenBeforeFirstCheck(0.02), 49, 9);
    near(formulas.deterrenceThreshold(10), 0.091, 3);
    near(formulas.deterrenceThreshold(1_000), 0.001, 3);
    near(formulas.checkingOverhead(0.05, 0.01), 0.0505, 9);
  });

  it('give the votes that are known', () => {
    for (const [colluders, expected] of [
      [4, { silent: '8.1', wins: '7.7', caught: '84.2', framed: '0.9' }],
      [8, { silent: '18.9', wins: '15.8', caught: '65.3', framed: '4.2' }],
    ] as const) {
      const chances = Object.entries(formulas.voteChances(38, colluders));
      const rounded = chances.map(([end, chance]) => [end, (chance * 100).toFixed(1)]);
      assert.deepEqual(Object.fromEntries(rounded), expected);
    }
  });

  it('hold at their ends', () => {
    assert.equal(formulas.batchDetectionProbability(142, 0, 14), 0);
    assert.equal(formulas.batchDetectionProbability(10, 8, 3), 1);
    assert.equal(formulas.detectionProbability({ rate: 1, wrongShare: 1 }, 1), 1);
    assert.equal(formulas.unitsUntilDetected({ rate: 1, wrongShare: 1 }, 0.95), 1);
    const lone = formulas.voteChances(38, 1);
    assert.deepEqual(lone, { silent: 0, wins: 0, caught: 1, framed: 0 });
    const colluding = { rate: 1, wrongShare: 1, collusion: 1 };
    assert.equal(formulas.detectionProbability(colluding, 1_000), 0);
  });
});

describe('bench/trust: simulations', () => {
  it('reproduce all closed forms', () => {
    const comparisons = experiments(2_000, 5);
    const wrong = comparisons.filter((comparison) => !isReproduced(comparison));
    assert.deepEqual(wrong, []);
    assert.ok(comparisons.length > 30);
  });

  it('are told from closed forms that are wrong', () => {
    const random = new Random(3);
    const share = compareShare('a share', 0.15, 5_000, () => random.chance(0.12));
    const mean = compareMean('a mean', 1.1, 5_000, () => random.exponential());
    assert.ok(!isReproduced(share) && !isReproduced(mean));
    assert.ok(isReproduced({ ...share, expected: 0.12 }) && isReproduced({ ...mean, expected: 1 }));
    assert.match(renderComparisons([share, mean]), /a share .* WRONG\n[^]*2 more than 4 standard/);
  });

  it('draw below no floor', () => {
    assert.throws(() => new Draws(0.01, 1), RangeError);
  });
});

describe('bench/trust: its command', () => {
  const main = join(import.meta.dirname, '..', '..', '..', 'bench', 'trust', 'main.ts');
  const command = (...args: string[]) =>
    spawnSync(process.execPath, ['--import', 'tsx/esm', main, ...args], { encoding: 'utf8' });

  it('exits with 0 when every value is reproduced', () => {
    const { status, stdout } = command('--runs', '1000', '--seed', '3');
    assert.equal(status, 0, stdout);
    assert.match(stdout, /\n\d+ values simulated, 0 more than 4 standard errors off their .*\n$/);
  });

  it('refuses arguments that make no sense', () => {
    for (const args of [['--runs', '10'], ['--seed', 'x'], ['1']]) {
      const { status, stdout } = command(...args);
      assert.equal(status, 2, stdout);
      assert.match(stdout, /See `npm run sim:trust -- --help`/);
    }
  });
});

import assert from 'node:assert/strict';
import { faults } from '../../bench/trial/findings.ts';
import { renderTrial } from '../../bench/trial/report.ts';
import { ALL_KINDS, PLAN, runTrial } from '../../bench/trial/trial.ts';
import { lies, startCheckScene } from '../support/check-scene.ts';

const MINUTES = 60_000;

describe('a network with liars in it', () => {
  it('removes every liar, no honest node; nobody pays for a wrong answer', async function () {
    this.timeout(20 * MINUTES);
    const findings = await runTrial(PLAN, () => {});
    const report = renderTrial(findings);
    assert.deepEqual(faults(findings), [], report);
    assert.ok(findings.requests >= PLAN.requests, report);
    // Both ways of finding wrong answers were needed.
    assert.ok(findings.wrong.foundByCheck > 0 && findings.wrong.refunded > 0, report);
  });

  it('removes liars of every kind, and no node of another class', async function () {
    this.timeout(10 * MINUTES);
    const findings = await runTrial(ALL_KINDS, () => {});
    assert.deepEqual(faults(findings), [], renderTrial(findings));
  });

  /** Majority of three, m = 2 colluders of N = 4, whose lies are the same: docs/verification.md. */
  it('two colluding operators win as often as the formula says', async function () {
    this.timeout(5 * MINUTES);
    const scene = await startCheckScene();
    const { database } = scene.network;
    try {
      for (const name of ['colluder-1', 'colluder-2'])
        await scene.add(name, { behaviour: lies('the same lie') });
      for (const name of ['honest-1', 'honest-2']) await scene.add(name);
      const counts = { silent: 0, won: 0, caught: 0 };
      const n = 150;
      for (let round = 0; round < n; round++) {
        const { outcome, votes, attempts } = await scene.ask();
        assert.equal(attempts[0]?.[0], 'colluder-1');
        if (outcome === 'overruled') counts.caught += 1;
        else counts[votes.length === 2 ? 'silent' : 'won'] += 1;
        // Who is outvoted would be removed: here it is about single votes.
        await database.nodeTrust.deleteMany();
      }
      const expected = n / 3;
      const standardError = Math.sqrt(n * (1 / 3) * (2 / 3));
      for (const [name, count] of Object.entries(counts))
        assert.ok(Math.abs(count - expected) < 5 * standardError, `${name}: ${count} of ${n}`);
    } finally {
      await scene.stop();
    }
  });
});

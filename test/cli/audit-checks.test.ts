import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import {
  auditDraw,
  auditEpochs,
  periodsOf,
  Tally,
  type Committed,
} from '../../cli/audit-checks.ts';
import type { DrawView, EpochView } from '../../cli/views.ts';
import { drawOf, policyHash, secretHash } from '../../crypto/sampling.ts';
import { canonicalText } from '../../protocol/canonical.ts';
import { formatRequestId } from '../../protocol/ids.ts';
import { drawPpm } from '../../protocol/sampling.ts';
import { EPOCH_MS, POLICY, testSecret } from '../support/drawn.ts';

const START_MS = Date.UTC(2026, 10, 25);
const POLICY_TEXT = canonicalText(POLICY);
const NOW_MS = START_MS + 4 * EPOCH_MS + 1_000;
const iso = (ms: number) => new Date(ms).toISOString();

/** Epochs as an honest network publishes them: the sixth one is ahead, the first two revealed. */
const EPOCHS: readonly EpochView[] = [1, 2, 3, 4, 5, 6].map((epoch) => {
  const beginsAtMs = START_MS + (epoch - 1) * EPOCH_MS;
  const isRevealed = epoch <= 3;
  return {
    epoch,
    begins_at: iso(beginsAtMs),
    secret_hash: secretHash(testSecret(epoch)),
    policy: POLICY_TEXT,
    policy_hash: policyHash(POLICY_TEXT),
    published_at: iso(epoch === 1 ? beginsAtMs : beginsAtMs - EPOCH_MS),
    secret: isRevealed ? testSecret(epoch) : null,
    revealed_at: isRevealed ? iso(beginsAtMs + 2 * EPOCH_MS) : null,
  };
});

/** With one epoch changed. */
const changed = (epoch: number, change: Partial<EpochView>) =>
  EPOCHS.map((each) => (each.epoch === epoch ? { ...each, ...change } : each));

const committed: Committed = {
  secret: testSecret(2),
  policy: POLICY,
  period: periodsOf(EPOCHS).get(2) ?? [0, 0],
};

function drawView(unit: number, change: Partial<DrawView> = {}): DrawView {
  const unitId = formatRequestId(new Uint8Array(32).fill(unit));
  const poe = String(unit % 10).repeat(64);
  const draw = drawOf(testSecret(2), unitId, poe);
  return {
    unit_id: unitId,
    dispatch: 1,
    poe,
    rate_ppm: 500_000,
    draw,
    is_sampled: drawPpm(draw) < 500_000,
    stored_at: iso(START_MS + 1.5 * EPOCH_MS),
    workload_class: 'ai.inference',
    outcome: null,
    request_status: 'cancelled',
    ...change,
  };
}

describe('cli/audit-checks auditEpochs', () => {
  it('finds nothing wrong with an honest network', () => {
    assert.deepEqual(auditEpochs(EPOCHS, NOW_MS), []);
  });

  const lies: [string, readonly EpochView[], RegExp][] = [
    ['a secret drawn again', changed(2, { secret: testSecret(9) }), /^epoch 2: the secret doesn't/],
    ['a secret that is none', changed(2, { secret: '0x12' }), /^epoch 2: the secret doesn't match/],
    ['a policy changed afterwards', changed(3, { policy: '{"v":1}' }), /doesn't match its hash/],
    ['an epoch left out', EPOCHS.filter(({ epoch }) => epoch !== 4), /^epoch 4 is missing$/],
    [
      'a commitment that came too late',
      changed(4, { published_at: iso(START_MS + 3 * EPOCH_MS) }),
      /^epoch 4: it was published when it had begun/,
    ],
    [
      'a secret that was out while it still counted',
      changed(3, { revealed_at: iso(START_MS + 4 * EPOCH_MS - 1) }),
      /^epoch 3: the secret was published before epoch 5 began$/,
    ],
    [
      'a secret that is kept back',
      changed(1, { secret: null, revealed_at: null }),
      /^epoch 1: the secret should be published by now$/,
    ],
  ];
  for (const [name, epochs, message] of lies)
    it(`finds ${name}`, () => {
      const faults = auditEpochs(epochs, NOW_MS);
      assert.ok(
        faults.some((fault) => message.test(fault)),
        faults.join('\n'),
      );
    });
});

describe('cli/audit-checks auditDraw', () => {
  it('finds nothing wrong with honest draws, on probation or not', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 255 }), (unit) => {
        assert.deepEqual(auditDraw(drawView(unit), committed), []);
        const onProbation = { rate_ppm: 1_000_000, is_sampled: true, outcome: 'agreed' };
        assert.deepEqual(auditDraw(drawView(unit, onProbation), committed), []);
      }),
    );
  });

  const honest = drawView(1);
  const lies: [string, Partial<DrawView>, RegExp][] = [
    ['another draw', { draw: 'f'.repeat(64), is_sampled: false }, /another draw follows/],
    ['another PoE', { poe: 'e'.repeat(64) }, /another draw follows/],
    ['a decision against the draw', { is_sampled: !honest.is_sampled }, /against its draw/],
    ['a rate of nobody', { rate_ppm: 400_000 }, /400000 ppm is none that the policy allows/],
    ['a rate of another class', { workload_class: 'image' }, /none that the policy allows/],
    ['another epoch', { stored_at: iso(START_MS + 2.5 * EPOCH_MS) }, /in another epoch/],
    ['no id', { unit_id: 'req_1' }, /malformed/],
    ['no draw', { draw: '' }, /malformed/],
  ];
  for (const [name, change, message] of lies)
    it(`finds ${name}`, () => {
      const faults = auditDraw({ ...honest, ...change }, committed);
      assert.ok(
        faults.some((fault) => message.test(fault)),
        faults.join('\n'),
      );
    });

  it('finds a check that was not drawn', () => {
    const unit = [...Array(256).keys()].find((each) => !drawView(each).is_sampled) ?? 0;
    const faults = auditDraw(drawView(unit, { outcome: 'agreed' }), committed);
    assert.deepEqual(faults, ['it was checked without being drawn']);
  });

  it('finds a request that was drawn, and completed without a check', () => {
    const unit = [...Array(256).keys()].find((each) => drawView(each).is_sampled) ?? 0;
    const completed = (outcome: string | null) =>
      auditDraw(drawView(unit, { outcome, request_status: 'completed' }), committed);
    assert.deepEqual(completed('hash_only'), []);
    assert.deepEqual(completed(null), [
      'it was sampled, and its request completed without a check',
    ]);
    assert.deepEqual(auditDraw(drawView(unit), committed), []);
  });

  it('takes an epoch to last until a later one began, whatever the order of their rows', () => {
    const overtaken = changed(5, { begins_at: iso(START_MS + 2 * EPOCH_MS - 5) });
    assert.deepEqual(periodsOf(overtaken.toReversed()).get(2), [
      START_MS + EPOCH_MS,
      START_MS + 2 * EPOCH_MS - 5,
    ]);
  });
});

describe('cli/audit-checks Tally', () => {
  const tallyOf = (draws: number, sampled: number, ratePpm: number) => {
    const tally = new Tally();
    for (let index = 0; index < draws; index++)
      tally.add(drawView(1, { rate_ppm: ratePpm, is_sampled: index < sampled }));
    return tally;
  };

  it('counts how checks ended', () => {
    const tally = new Tally();
    for (const outcome of ['agreed', 'agreed', 'hash_only', null])
      tally.add(drawView(1, { is_sampled: true, outcome }));
    tally.add(drawView(1, { is_sampled: false }));
    assert.deepEqual(tally.outcomes, { agreed: 2, hash_only: 1, 'without outcome': 1 });
    assert.deepEqual([tally.draws, tally.sampled, tally.expected], [5, 4, 2.5]);
  });

  it('takes chance for chance, and sampled draws that were left out for what they are', () => {
    assert.equal(tallyOf(0, 0, 50_000).isUnlikely(), false);
    // Three of ten at 2 %: 1 in 1,200.
    assert.equal(tallyOf(10, 3, 20_000).isUnlikely(), false);
    assert.equal(tallyOf(2_000, 130, 50_000).isUnlikely(), false);
    assert.equal(tallyOf(2_000, 20, 50_000).isUnlikely(), true);
    assert.equal(tallyOf(2_000, 200, 50_000).isUnlikely(), true);
    assert.equal(tallyOf(500, 500, 1_000_000).isUnlikely(), false);
  });
});

import assert from 'node:assert/strict';
import {
  explainNode,
  explainNodeForUnit,
  outcomeMessage,
  type ExplainedNode,
  type NodeSituation,
} from '../../protocol/explain.ts';
import { formatNodeId } from '../../protocol/ids.ts';
import type { Requirements } from '../../protocol/schedule.ts';

const unit: Requirements = {
  workloadClass: 'ai.inference',
  modelDigest: 'sha256:a',
  hardwareTier: 2,
  complexity: 100,
  features: ['choices'],
};

const fitting: ExplainedNode = {
  nodeId: formatNodeId(new Uint8Array(32).fill(1)),
  name: 'one',
  status: 'active',
  tier: 2,
  workloadClasses: ['ai.inference'],
  modelDigest: 'sha256:a',
  features: ['choices'],
  online: true,
  ready: true,
  silentSeconds: 1,
  freeSlots: 1,
  slotsTotal: 2,
  throughputPerSecond: 10,
  probeCode: null,
  probeInSeconds: 0,
};

const idle: NodeSituation = {
  node: fitting,
  recentOutcomes: ['accepted', 'dispatch.node_unreachable'],
  modelServed: true,
  waiting: { total: 0, suited: 0 },
  others: [],
};

const smaller: ExplainedNode = { ...fitting, name: 'small', tier: 1 };

describe('protocol/explain', () => {
  const verdicts: [string, Partial<ExplainedNode>, string | null, RegExp][] = [
    ['fits', {}, null, /needs about 10 s/],
    ['was removed, though all else fits', { status: 'removed' }, 'removed', /removed/],
    ['is draining', { status: 'draining' }, 'draining', /draining/],
    ['is being measured', { status: 'probing' }, 'probing', /measuring it/],
    [
      'failed its canary',
      { status: 'probing', probeCode: 'poe.bad_signature', probeInSeconds: 20 },
      'probing',
      /\(poe\.bad_signature\)\. The PoE is not signed by the node\. The next try is in 20 s/,
    ],
    [
      'is due for its next canary',
      { status: 'probing', probeCode: 'dispatch.node_unreachable' },
      'probing',
      /\(dispatch\.node_unreachable\)\..* The next try is now/,
    ],
    ['is silent', { online: false, silentSeconds: 75 }, 'offline', /75 s ago; after 8 s/],
    ['left', { online: false }, 'offline', /left by its own word/],
    ['has no backend', { ready: false }, 'backend_gone', /backend can not serve/],
    ['has another class', { workloadClasses: ['x'] }, 'workload_class', /ai\.inference/],
    ['has other weights', { modelDigest: 'sha256:b' }, 'model', /weights/],
    ['has too simple a backend', { features: ['logprobs'] }, 'features', /for: choices\./],
    ['is too small', { tier: 1 }, 'tier', /tier is 1; tier 2/],
    ['is full', { freeSlots: 0 }, 'no_free_slot', /All of its 2 slots/],
    ['is full with one slot', { freeSlots: 0, slotsTotal: 1 }, 'no_free_slot', /one slot/],
    ['is slow', { throughputPerSecond: 0.5 }, 'too_slow_for_deadline', /200 s for 100 tokens/],
  ];
  for (const [name, changed, failedFilter, message] of verdicts)
    it(`says of a node that ${name}: ${failedFilter ?? 'nothing fails'}`, () => {
      const verdict = explainNodeForUnit({ ...fitting, ...changed }, unit, [], 10);
      assert.equal(verdict.failedFilter, failedFilter);
      assert.match(verdict.message, message);
    });

  it('tells the node that has the unit from one that had it', () => {
    const attempt = { dispatch: 2, nodeId: fitting.nodeId };
    const message = (outcome: string | null) =>
      explainNodeForUnit(fitting, unit, [{ ...attempt, outcome }], 10).message;
    assert.match(message(null), /It has the request: attempt 2/);
    assert.match(message('poe.missing'), /It had the request: attempt 2/);
  });

  it('says what became of an attempt', () => {
    assert.equal(outcomeMessage('accepted', true), 'Its return was accepted.');
    assert.equal(outcomeMessage(null, false), 'It is under way.');
    assert.match(outcomeMessage(null, true), /given up/);
    assert.equal(outcomeMessage('poe.missing', false), 'The node returned no Proof-of-Execution.');
    assert.match(outcomeMessage('from.the.future', false), /Unknown outcome from\.the\.future/);
  });

  const reasons: [string, Partial<NodeSituation>, string[]][] = [
    ['nothing waits', {}, ['nothing_waits']],
    ['what waits suits others', { waiting: { total: 3, suited: 0 } }, ['nothing_suited']],
    ['it is about to be woken', { waiting: { total: 3, suited: 1 } }, ['about_to_be_woken']],
    ['a smaller one is free', { others: [smaller] }, ['nothing_waits', 'others_first']],
    [
      'a slower one is free',
      { others: [{ ...fitting, throughputPerSecond: 5 }] },
      ['nothing_waits', 'others_first'],
    ],
    ['a larger one is free', { others: [{ ...smaller, tier: 3 }] }, ['nothing_waits']],
    [
      'smaller ones are of no use',
      {
        others: [
          { ...smaller, online: false },
          { ...smaller, ready: false },
          { ...smaller, freeSlots: 0 },
          { ...smaller, status: 'removed' },
          { ...smaller, modelDigest: 'sha256:b' },
        ],
      },
      ['nothing_waits'],
    ],
    [
      'it is shut out in many ways',
      {
        node: { ...fitting, status: 'removed', online: false, freeSlots: 0, slotsTotal: 0 },
        modelServed: false,
      },
      ['removed', 'offline', 'model_not_served', 'no_slots'],
    ],
    ['it is busy', { node: { ...fitting, freeSlots: 0 } }, ['busy']],
    [
      'it does not pick up',
      { recentOutcomes: ['dispatch.node_unreachable', 'accepted'] },
      ['not_picking_up', 'nothing_waits'],
    ],
  ];
  for (const [name, changed, codes] of reasons)
    it(`gives the reasons of a node when ${name}`, () => {
      const found = explainNode({ ...idle, ...changed });
      assert.deepEqual(
        found.map(({ code }) => code),
        codes,
      );
      for (const { message } of found) assert.match(message, /^[A-Z].*\.$/);
    });
});

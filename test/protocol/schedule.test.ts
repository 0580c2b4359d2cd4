import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { formatNodeId, type NodeId } from '../../protocol/ids.ts';
import { FEATURES } from '../../protocol/receive.ts';
import {
  chooseNode,
  estimateSeconds,
  failedFilter,
  reputation,
  type Candidate,
  type FailedFilter,
  type Requirements,
} from '../../protocol/schedule.ts';

const STATUSES = [...Array<'active'>(8).fill('active'), 'probing', 'draining'] as const;
const MODELS = ['sha256:a', 'sha256:b'];
const unit: Requirements = {
  workloadClass: 'ai.inference',
  modelDigest: 'sha256:a',
  hardwareTier: 2,
  complexity: 100,
};
/** It fits `unit` with ten seconds left, exactly. */
const fitting: Candidate = {
  nodeId: nodeId(1),
  status: 'active',
  tier: 2,
  workloadClasses: ['rendering', 'ai.inference'],
  modelDigest: 'sha256:a',
  features: ['choices', 'logprobs'],
  online: true,
  ready: true,
  freeSlots: 1,
  throughputPerSecond: 10,
};

function nodeId(number: number): NodeId {
  return formatNodeId(new Uint8Array(32).fill(number));
}

/** Nodes as they come: most of them fit, and many are equal in tier or throughput. */
const candidates: fc.Arbitrary<Candidate[]> = fc.uniqueArray(
  fc.record({
    nodeId: fc.integer({ min: 0, max: 30 }).map(nodeId),
    status: fc.constantFrom(...STATUSES),
    tier: fc.integer({ min: 1, max: 5 }),
    workloadClasses: fc.constantFrom(['ai.inference'], ['ai.inference'], ['rendering'], []),
    modelDigest: fc.constantFrom('sha256:a', 'sha256:a', ...MODELS),
    features: fc.constantFrom([], ['choices'], [...FEATURES]),
    online: fc.constantFrom(true, true, true, false),
    ready: fc.constantFrom(true, true, true, true, true, false),
    freeSlots: fc.integer({ min: 0, max: 3 }),
    throughputPerSecond: fc.constantFrom(1, 5, 10, 20, 100),
  }),
  { selector: (candidate) => candidate.nodeId, maxLength: 16 },
);
const situation = fc.record({
  nodes: candidates,
  unit: fc.record({
    workloadClass: fc.constant('ai.inference' as const),
    modelDigest: fc.constantFrom(...MODELS),
    hardwareTier: fc.integer({ min: 1, max: 5 }),
    complexity: fc.integer({ min: 1, max: 2_000 }),
    features: fc.constantFrom<Requirements['features'][]>(
      undefined,
      undefined,
      ['choices'],
      [...FEATURES],
    ),
  }),
  used: fc.array(fc.integer({ min: 0, max: 30 }).map(nodeId), { maxLength: 4 }),
  remainingSeconds: fc.integer({ min: 1, max: 300 }),
});

/** What qualifies a node, in the specification's words rather than the code's. */
function qualifies(
  node: Candidate,
  wanted: Requirements,
  used: readonly NodeId[],
  remainingSeconds: number,
): boolean {
  const capable =
    node.tier >= wanted.hardwareTier &&
    node.modelDigest === wanted.modelDigest &&
    node.workloadClasses.includes(wanted.workloadClass) &&
    (wanted.features ?? []).every((feature) => node.features.includes(feature));
  const available =
    node.status === 'active' &&
    node.online &&
    node.ready &&
    node.freeSlots > 0 &&
    !used.includes(node.nodeId);
  return capable && available && wanted.complexity <= remainingSeconds * node.throughputPerSecond;
}

/** Tier, then throughput, then id: no weight of any node. */
function isSmaller(a: Candidate, b: Candidate): boolean {
  if (a.tier !== b.tier) return a.tier < b.tier;
  if (a.throughputPerSecond !== b.throughputPerSecond)
    return a.throughputPerSecond < b.throughputPerSecond;
  return a.nodeId < b.nodeId;
}

describe('protocol/schedule chooseNode', () => {
  it('chooses a node exactly when one qualifies, and never another', () => {
    let found = 0;
    fc.assert(
      fc.property(situation, ({ nodes, unit, used, remainingSeconds }) => {
        const chosen = chooseNode(nodes, unit, used, remainingSeconds);
        const fit = nodes.filter((node) => qualifies(node, unit, used, remainingSeconds));
        assert.equal(chosen === null, fit.length === 0);
        if (chosen) assert.ok(fit.includes(chosen), JSON.stringify(chosen));
        if (chosen) found += 1;
      }),
      { numRuns: 500 },
    );
    // Situations where nothing ever fits would show nothing.
    assert.ok(found > 15, `only ${found} of 500 situations had a fitting node`);
  });

  it('chooses the smallest that clears the deadline: by tier, then throughput', () => {
    fc.assert(
      fc.property(situation, ({ nodes, unit, used, remainingSeconds }) => {
        const chosen = chooseNode(nodes, unit, used, remainingSeconds);
        if (!chosen) return;
        for (const node of nodes.filter((node) => qualifies(node, unit, used, remainingSeconds))) {
          assert.ok(node.tier >= chosen.tier);
          if (node.tier === chosen.tier)
            assert.ok(node.throughputPerSecond >= chosen.throughputPerSecond);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('does not depend on the order of the candidates, and leaves them as they are', () => {
    const shuffled = situation.chain((drawn) =>
      fc
        .shuffledSubarray(drawn.nodes, { minLength: drawn.nodes.length })
        .map((others) => ({ ...drawn, others })),
    );
    fc.assert(
      fc.property(shuffled, ({ nodes, others, unit, used, remainingSeconds }) => {
        const before = [...nodes];
        const chosen = chooseNode(nodes, unit, used, remainingSeconds);
        assert.equal(chooseNode(others, unit, used, remainingSeconds), chosen);
        assert.deepEqual(nodes, before);
      }),
      { numRuns: 300 },
    );
  });

  it('keeps a large node free while a smaller one is fast enough', () => {
    const large = { ...fitting, nodeId: nodeId(2), tier: 5, throughputPerSecond: 1_000 };
    assert.equal(chooseNode([large, fitting], unit, [], 10), fitting);
    assert.equal(chooseNode([large, fitting], unit, [], 9), large);
  });

  it('never chooses a node that is not in service, whatever else speaks for it', () => {
    const best = { ...fitting, freeSlots: 9, throughputPerSecond: 1_000 };
    const faults: Partial<Candidate>[] = [
      { status: 'probing' },
      { status: 'draining' },
      { status: 'removed' },
      { online: false },
      { ready: false },
      { freeSlots: 0 },
      { workloadClasses: [] },
      { throughputPerSecond: Number.NaN },
    ];
    for (const fault of faults)
      assert.equal(chooseNode([{ ...best, ...fault }], unit, [], 10), null);
    assert.equal(chooseNode([best], unit, [], 10), best);
    assert.equal(chooseNode([best], unit, [best.nodeId], 10), null);
  });

  it('chooses as a scheduler without reputation does', () => {
    fc.assert(
      fc.property(situation, ({ nodes, unit, used, remainingSeconds }) => {
        let smallest: Candidate | null = null;
        for (const node of nodes) {
          if (!qualifies(node, unit, used, remainingSeconds)) continue;
          if (!smallest || isSmaller(node, smallest)) smallest = node;
        }
        assert.equal(chooseNode(nodes, unit, used, remainingSeconds), smallest);
      }),
      { numRuns: 500 },
    );
  });

  it('finds nothing among no candidates', () => {
    assert.equal(chooseNode([], unit, [], 10), null);
  });
});

describe('protocol/schedule failedFilter', () => {
  /** Each fault alone, in the order in which the filters apply. */
  const faults: [FailedFilter, Partial<Candidate>][] = [
    ['probing', { status: 'probing' }],
    ['offline', { online: false }],
    ['backend_gone', { ready: false }],
    ['workload_class', { workloadClasses: ['rendering'] }],
    ['model', { modelDigest: 'sha256:b' }],
    ['tier', { tier: 1 }],
    ['already_used', {}],
    ['no_free_slot', { freeSlots: 0 }],
    ['too_slow_for_deadline', { throughputPerSecond: 9.9 }],
  ];
  const usedFor = (filter: FailedFilter) => (filter === 'already_used' ? [fitting.nodeId] : []);

  it('lets a node through that fits exactly', () => {
    assert.equal(estimateSeconds(fitting, unit), 10);
    assert.equal(failedFilter(fitting, unit, [nodeId(2)], 10), null);
  });

  for (const [filter, fault] of faults)
    it(`names ${filter}`, () => {
      assert.equal(failedFilter({ ...fitting, ...fault }, unit, usedFor(filter), 10), filter);
    });

  it('names the first of several, in the order of the specification', () => {
    for (const [index, [first]] of faults.entries()) {
      const rest = faults.slice(index);
      const node = Object.assign({}, fitting, ...rest.map(([, fault]) => fault)) as Candidate;
      const used = rest.flatMap(([filter]) => usedFor(filter));
      assert.equal(failedFilter(node, unit, used, 10), first);
    }
  });

  it('never trusts a node of unknown speed', () => {
    assert.equal(
      failedFilter({ ...fitting, throughputPerSecond: 0 }, unit, [], 10),
      'too_slow_for_deadline',
    );
  });

  it('weighs all nodes alike at launch', () => {
    assert.equal(reputation(nodeId(1)), 1);
    assert.equal(reputation(nodeId(2)), 1);
  });
});

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { Fragmentation } from '../../../bench/sim/fragmentation.ts';
import type { Observer, Scheduler, SimNode, SimUnit } from '../../../bench/sim/model.ts';
import { Overtaking } from '../../../bench/sim/overtaking.ts';
import { renderResults } from '../../../bench/sim/report.ts';
import { IndexedScheduler } from '../../../bench/sim/scheduler.ts';
import { Waits } from '../../../bench/sim/waits.ts';
import { failedFilter, OVERTAKE_SECONDS_MAX, type Queued } from '../../../protocol/schedule.ts';
import { ReferenceScheduler } from './reference.ts';
import { run, type RunOptions, type Trace } from './run.ts';

const SMALL = { nodes: 50, units: 2_000, load: 1.3, seed: 1 };
/** A pool and a load that keep the queue long enough for a wrong order to show. */
const LONG = { nodes: 50, units: 8_000, load: 1.6, seed: 1 };

const situation = fc.record({
  nodes: fc.integer({ min: 1, max: 50 }),
  units: fc.constant(1_500),
  load: fc.double({ min: 0.5, max: 1.5, noNaN: true }),
  seed: fc.integer({ min: 0, max: 1_000_000 }),
  failureRate: fc.constantFrom(0, 0.1),
});

/** What was decided, without what identifies objects. */
function decisions({ assignments, ends }: Trace): string[] {
  return [
    ...assignments.map(({ unit, node, atMs }) => `${atMs} ${unit.index} ${node.nodeId}`),
    ...ends.map(({ unit, outcome, atMs }) => `${atMs} ${unit.index} ${outcome}`),
  ];
}

/** A place without age: whoever is urgent comes first, for good. */
function strictPriority({ priority, turnMs }: Queued): number {
  return turnMs + { urgent: 0, expedited: 1, standard: 2 }[priority] * 1e9;
}

function overtakingOf(options: RunOptions): Overtaking {
  const overtaking = new Overtaking();
  run({ ...options, observers: [overtaking] });
  return overtaking;
}

describe('bench/sim: the indexes', () => {
  it('decide as a search through all nodes and all that wait does', function () {
    this.timeout(120_000);
    let held = 0;
    fc.assert(
      fc.property(situation, (options) => {
        const indexed = run(options);
        const scheduler = (nodes: readonly SimNode[]) => new ReferenceScheduler(nodes);
        assert.deepEqual(decisions(indexed), decisions(run({ ...options, scheduler })));
        held += indexed.held;
      }),
      { numRuns: 12 },
    );
    // Where nothing waits, most of the decisions are never made.
    assert.ok(held > 2_000, `only ${held} units were held`);
  });
});

describe('bench/sim: a simulation', () => {
  it('ends every unit once, and gives every slot back', () => {
    for (const failureRate of [0, 0.2]) {
      const { nodes, units, ends, assignments } = run({ ...SMALL, failureRate });
      assert.equal(units.size, SMALL.units);
      assert.deepEqual(new Set(ends.map(({ unit }) => unit)), units);
      assert.equal(ends.length, SMALL.units);
      const assigned = new Set(assignments.map(({ unit }) => unit));
      for (const { unit, outcome, atMs } of ends)
        if (outcome === 'elapsed') {
          assert.ok(atMs >= unit.acceptedAtMs + unit.deadlineSeconds * 1_000);
          assert.ok(failureRate > 0 || !assigned.has(unit));
        } else assert.ok(assigned.has(unit));
      for (const { slots, freeSlots } of nodes) assert.equal(freeSlots, slots);
      assert.ok(ends.some(({ outcome }) => outcome === 'elapsed'));
      assert.ok(ends.some(({ outcome }) => outcome === 'completed'));
    }
  });

  it('never takes a slot that is taken, and gives a unit no node twice', () => {
    let fullest = Infinity;
    const slots: Observer = {
      onAssigned(unit, node) {
        assert.ok(node.freeSlots >= 1 && node.freeSlots <= node.slots);
        assert.ok(!unit.usedNodes.includes(node.nodeId));
        fullest = Math.min(fullest, node.freeSlots);
      },
    };
    const { assignments } = run({ ...SMALL, failureRate: 0.3, observers: [slots] });
    assert.equal(fullest, 1);
    assert.ok(assignments.length > SMALL.units, 'nothing was dispatched again');
  });

  it('is the same for the same seed, and another for another', () => {
    const options = { ...SMALL, failureRate: 0.1 };
    const first = decisions(run(options));
    assert.deepEqual(decisions(run(options)), first);
    assert.notDeepEqual(decisions(run({ ...options, seed: 2 })), first);
  });

  it('refuses a scheduler that gives what is not there', () => {
    const scheduler = (nodes: readonly SimNode[]) =>
      Object.assign(new ReferenceScheduler(nodes), { choose: () => nodes[0] ?? null });
    assert.throws(() => run({ ...SMALL, scheduler }), /has no free slot/);
  });
});

describe('bench/sim: starvation', () => {
  it('is none in the waiting order, by a bound that is nearly reached', () => {
    const { starved, largestSeconds } = overtakingOf(LONG);
    assert.equal(starved, 0);
    assert.ok(largestSeconds <= OVERTAKE_SECONDS_MAX, `${largestSeconds} s`);
    assert.ok(largestSeconds > OVERTAKE_SECONDS_MAX / 2, `${largestSeconds} s`);
  });

  it('is found in an order without age', () => {
    const { starved, largestSeconds } = overtakingOf({ ...LONG, place: strictPriority });
    assert.ok(starved > 100, `${starved} starved`);
    assert.ok(largestSeconds > OVERTAKE_SECONDS_MAX);
  });

  it('is found where newcomers take what waiting units need', () => {
    const scheduler = (nodes: readonly SimNode[]) => new Unfenced(nodes);
    const { starved } = overtakingOf({ ...LONG, scheduler });
    assert.ok(starved > 0);
  });
});

/** Only those that come get nodes, as if the matcher were never in time. */
class Unfenced extends ReferenceScheduler {
  override hold(): void {}
}

describe('bench/sim: figures', () => {
  it('counts what ended, waited and ran', () => {
    const waits = new Waits();
    const fragmentation = new Fragmentation();
    const trace = run({ ...SMALL, observers: [waits, fragmentation] });
    const { completed, elapsed, failed } = waits.outcomes;
    assert.equal(completed + elapsed + failed, SMALL.units);
    assert.equal(waits.assignments, trace.assignments.length);
    const byClass = Object.fromEntries(waits.byClass().map((row) => [row.name, row]));
    const priorities = ['urgent', 'expedited', 'standard'].map((name) => byClass[name]?.units ?? 0);
    assert.equal(
      priorities.reduce((sum, units) => sum + units, 0),
      SMALL.units,
    );
    const longest = Math.max(
      ...trace.assignments
        .filter(({ unit }) => unit.priority === 'urgent')
        .map(({ unit, atMs }) => (atMs - unit.acceptedAtMs) / 1_000),
    );
    assert.ok((byClass['urgent']?.percentiles.at(-1) ?? 0) >= longest);
    const larger = trace.assignments.filter(({ unit, node }) => node.tier > unit.smallestTier);
    assert.equal(fragmentation.largerTierShare, larger.length / trace.assignments.length);
  });

  it('ends its report with the figure, and says when a unit has starved', () => {
    const rendered = (options: RunOptions) => {
      const waits = new Waits();
      const overtaking = new Overtaking();
      const fragmentation = new Fragmentation();
      run({ ...options, observers: [waits, overtaking, fragmentation] });
      const seen = { waits, overtaking, fragmentation };
      const times = { simulatedSeconds: 60, wallSeconds: 2, cpuSeconds: 1 };
      return renderResults({ ...seen, ...times, nodes: options.nodes });
    };
    assert.match(
      rendered(SMALL),
      /\n2,000 units on 50 nodes: (8|9)\d\d assignments\/s, 0 starved$/,
    );
    assert.match(rendered({ ...LONG, place: strictPriority }), / assignments\/s, [1-9].* starved$/);
  });

  it('leaves what large units need to them: less of the pool blocks than without best fit', () => {
    const blocking = (scheduler: (nodes: readonly SimNode[]) => Scheduler) => {
      const fragmentation = new Fragmentation();
      run({ ...LONG, scheduler, observers: [fragmentation] });
      return fragmentation;
    };
    const best = blocking((nodes) => new IndexedScheduler(nodes));
    const worst = blocking((nodes) => new LargestFirst(nodes));
    assert.ok(best.largerTierShare < worst.largerTierShare);
    assert.ok(best.blockingShare < worst.blockingShare);
  });
});

/** Gives newcomers the largest node that fits. */
class LargestFirst extends IndexedScheduler {
  readonly #largestFirst: readonly SimNode[];

  constructor(nodes: readonly SimNode[]) {
    super(nodes);
    this.#largestFirst = nodes.toSorted((a, b) => b.tier - a.tier);
  }

  override choose(unit: SimUnit): SimNode | null {
    const { usedNodes, deadlineSeconds } = unit;
    const isFit = (node: SimNode) => failedFilter(node, unit, usedNodes, deadlineSeconds) === null;
    return super.choose(unit) && (this.#largestFirst.find(isFit) ?? null);
  }
}

describe('bench/sim: its command', () => {
  const main = join(import.meta.dirname, '..', '..', '..', 'bench', 'sim', 'main.ts');
  const command = (...args: string[]) =>
    spawnSync(process.execPath, ['--import', 'tsx/esm', main, ...args], { encoding: 'utf8' });

  it('exits with 0 after a figure of nobody starved', () => {
    const { status, stdout } = command('--nodes', '20', '--units', '300', '--seed', '3');
    assert.equal(status, 0);
    assert.match(stdout, /\n300 units on 20 nodes: [\d,]+ assignments\/s, 0 starved\n$/);
  });

  it('refuses arguments that make no sense', () => {
    for (const args of [['--nodes', '0'], ['--load', 'x'], ['1']]) {
      const { status, stdout } = command(...args);
      assert.equal(status, 2, stdout);
      assert.match(stdout, /See `npm run sim:schedule -- --help`/);
    }
  });
});

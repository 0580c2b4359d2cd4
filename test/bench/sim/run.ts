import type { Observer, Outcome, Scheduler, SimNode, SimUnit } from '../../../bench/sim/model.ts';
import { IndexedScheduler } from '../../../bench/sim/scheduler.ts';
import { Simulation } from '../../../bench/sim/simulation.ts';
import { makeNodes, makeUnits, type WorkloadOptions } from '../../../bench/sim/workload.ts';

export interface RunOptions extends WorkloadOptions {
  readonly failureRate?: number;
  readonly scheduler?: (nodes: readonly SimNode[]) => Scheduler;
  readonly observers?: readonly Observer[];
}

/** All that happened, in order. */
export interface Trace {
  readonly nodes: readonly SimNode[];
  readonly units: ReadonlySet<SimUnit>;
  readonly assignments: readonly { unit: SimUnit; node: SimNode; atMs: number }[];
  readonly ends: readonly { unit: SimUnit; outcome: Outcome; atMs: number }[];
  /** How often a unit was held. */
  readonly held: number;
}

/** A simulation from its first to its last event. */
export function run(options: RunOptions): Trace {
  const { failureRate = 0, scheduler = (nodes) => new IndexedScheduler(nodes) } = options;
  const nodes = makeNodes(options);
  const recorder = new Recorder();
  const simulation = new Simulation({
    units: recorder.passing(makeUnits(options, nodes)),
    scheduler: scheduler(nodes),
    observers: [recorder, ...(options.observers ?? [])],
    seed: options.seed,
    failureRate,
  });
  while (simulation.run(1_000));
  const { units, assignments, ends, held } = recorder;
  return { nodes, units, assignments, ends, held };
}

class Recorder implements Observer {
  readonly units = new Set<SimUnit>();
  readonly assignments: { unit: SimUnit; node: SimNode; atMs: number }[] = [];
  readonly ends: { unit: SimUnit; outcome: Outcome; atMs: number }[] = [];
  held = 0;

  *passing(units: Iterable<SimUnit>): Generator<SimUnit> {
    for (const unit of units) {
      this.units.add(unit);
      yield unit;
    }
  }

  onHeld(): void {
    this.held += 1;
  }

  onAssigned(unit: SimUnit, node: SimNode, atMs: number): void {
    this.assignments.push({ unit, node, atMs });
  }

  onEnded(unit: SimUnit, outcome: Outcome, atMs: number): void {
    this.ends.push({ unit, outcome, atMs });
  }
}

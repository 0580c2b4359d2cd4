import { percentiles } from '../statistics.ts';
import type { Observer, Outcome, SimNode, SimUnit } from './model.ts';

const PERCENTS = [50, 95, 99, 100] as const;
const SIZES: readonly (readonly [string, number])[] = [
  ['small', 512],
  ['medium', 4_096],
  ['large', Infinity],
];

/** Of the units of one class; seconds. */
export interface WaitsOf {
  readonly name: string;
  readonly units: number;
  readonly elapsed: number;
  /** From acceptance to the first node, or to the deadline. */
  readonly percentiles: readonly number[];
}

/** Times from acceptance to the first node, and how units ended. */
export class Waits implements Observer {
  readonly #seconds = new Map<string, number[]>();
  readonly #elapsed = new Map<string, number>();
  readonly #outcomes: Record<Outcome, number> = { completed: 0, failed: 0, elapsed: 0 };
  #assignments = 0;
  #begun = 0;
  #heldMax = 0;
  #held = 0;

  /** With those after a lost attempt. */
  get assignments(): number {
    return this.#assignments;
  }

  /** Units that got a node, at least once. */
  get begun(): number {
    return this.#begun;
  }

  get outcomes(): Readonly<Record<Outcome, number>> {
    return this.#outcomes;
  }

  /** The most units that waited at a time. */
  get waitingMax(): number {
    return this.#heldMax;
  }

  onHeld(): void {
    this.#held += 1;
    this.#heldMax = Math.max(this.#heldMax, this.#held);
  }

  onLeft(): void {
    this.#held -= 1;
  }

  onAssigned(unit: SimUnit, _node: SimNode, atMs: number): void {
    this.#assignments += 1;
    if (unit.failures.length > 0) return;
    this.#begun += 1;
    this.#record(unit, atMs);
  }

  onEnded(unit: SimUnit, outcome: Outcome, atMs: number): void {
    this.#outcomes[outcome] += 1;
    if (outcome !== 'elapsed') return;
    for (const name of classesOf(unit)) this.#elapsed.set(name, (this.#elapsed.get(name) ?? 0) + 1);
    if (unit.failures.length === 0) this.#record(unit, atMs);
  }

  byClass(): WaitsOf[] {
    const names = ['urgent', 'expedited', 'standard', ...SIZES.map(([name]) => name)];
    return names.flatMap((name) => {
      const seconds = this.#seconds.get(name);
      if (seconds === undefined) return [];
      const elapsed = this.#elapsed.get(name) ?? 0;
      return [
        { name, units: seconds.length, elapsed, percentiles: percentiles(seconds, PERCENTS) },
      ];
    });
  }

  #record(unit: SimUnit, atMs: number): void {
    for (const name of classesOf(unit)) {
      const seconds = this.#seconds.get(name) ?? [];
      this.#seconds.set(name, seconds);
      seconds.push((atMs - unit.acceptedAtMs) / 1_000);
    }
  }
}

function classesOf({ priority, complexity }: SimUnit): readonly string[] {
  const size = SIZES.find(([, below]) => complexity < below)?.[0] ?? 'large';
  return [priority, size];
}

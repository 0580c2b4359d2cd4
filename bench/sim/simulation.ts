import TinyQueue from 'tinyqueue';
import { afterFailure } from '../../protocol/dispatch.ts';
import type { ErrorCode } from '../../protocol/errors.ts';
import type { Observer, Outcome, Scheduler, SimNode, SimUnit } from './model.ts';
import { Random } from './random.ts';

/** From a slot that comes back to the matcher's round; newcomers come in between. */
const MATCH_DELAY_MS = 20;
/** Nodes are slower and faster than measured. */
const SPEED = { min: 0.9, max: 1.2 } as const;

type Event =
  | { readonly kind: 'arrival'; readonly atMs: number; readonly unit: SimUnit }
  | { readonly kind: 'deadline'; readonly atMs: number; readonly unit: SimUnit }
  | { readonly kind: 'match'; readonly atMs: number }
  | {
      readonly kind: 'end';
      readonly atMs: number;
      readonly unit: SimUnit;
      readonly node: SimNode;
      /** Null when it yields a return that is accepted. */
      readonly failure: ErrorCode | null;
    };

export interface SimulationOptions {
  /** In the order of acceptance. */
  readonly units: Iterator<SimUnit>;
  readonly scheduler: Scheduler;
  readonly observers: readonly Observer[];
  readonly seed: number;
  /** The share of attempts whose node is lost half way. */
  readonly failureRate: number;
}

/**
 * A network in simulated time: units come, get a node or wait, run, and end. Whatever decides is
 * the scheduler's; nothing here reads a clock.
 */
export class Simulation {
  readonly #options: SimulationOptions;
  readonly #random: Random;
  // Events of one time in the order in which they were added would need a number each; in floating
  // point there are hardly any, and the same calls give the same order.
  readonly #events = new TinyQueue<Event>([], (a, b) => a.atMs - b.atMs);
  #nowMs = 0;
  #waiting = 0;
  #isMatchDue = false;

  constructor(options: SimulationOptions) {
    this.#options = options;
    this.#random = new Random(options.seed + 2);
    this.#next();
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** @returns whether there is more to come after these events. */
  run(eventsMax: number): boolean {
    for (let count = 0; count < eventsMax; count += 1) {
      const event = this.#events.pop();
      if (event === undefined) return false;
      this.#nowMs = event.atMs;
      this.#handle(event);
    }
    return this.#events.length > 0;
  }

  #handle(event: Event): void {
    switch (event.kind) {
      case 'arrival':
        this.#next();
        return this.#schedule(event.unit);
      case 'deadline':
        if (event.unit.isWaiting) {
          this.#options.scheduler.drop(event.unit);
          this.#leave(event.unit);
          this.#end(event.unit, 'elapsed');
        }
        return;
      case 'match':
        this.#isMatchDue = false;
        return this.#options.scheduler.match((unit, node) => {
          this.#leave(unit);
          this.#assign(unit, node);
        });
      case 'end':
        return this.#finish(event.unit, event.node, event.failure);
    }
  }

  #next(): void {
    const { value: unit, done } = this.#options.units.next();
    if (!done) this.#events.push({ kind: 'arrival', atMs: unit.acceptedAtMs, unit });
  }

  #schedule(unit: SimUnit): void {
    const { scheduler, observers } = this.#options;
    const node = scheduler.choose(unit);
    if (node) return this.#assign(unit, node);
    const deadlineAtMs = unit.acceptedAtMs + unit.deadlineSeconds * 1_000;
    if (this.#nowMs >= deadlineAtMs) return this.#end(unit, 'elapsed');
    scheduler.hold(unit);
    unit.isWaiting = true;
    this.#waiting += 1;
    this.#events.push({ kind: 'deadline', atMs: deadlineAtMs, unit });
    for (const observer of observers) observer.onHeld?.(unit, this.#nowMs);
  }

  #leave(unit: SimUnit): void {
    unit.isWaiting = false;
    this.#waiting -= 1;
    for (const observer of this.#options.observers) observer.onLeft?.(unit, this.#nowMs);
  }

  #assign(unit: SimUnit, node: SimNode): void {
    const { scheduler, observers, failureRate } = this.#options;
    if (node.freeSlots < 1) throw new Error(`${node.nodeId} has no free slot`);
    for (const observer of observers) observer.onAssigned?.(unit, node, this.#nowMs);
    node.freeSlots -= 1;
    scheduler.taken(node);
    const speed = this.#random.between(SPEED.min, SPEED.max);
    const seconds = unit.runTokens / (node.throughputPerSecond * speed);
    const isLost = this.#random.chance(failureRate);
    const isLate = seconds > unit.deadlineSeconds;
    const lasts = Math.min(isLost ? seconds / 2 : seconds, unit.deadlineSeconds);
    const failure = isLost ? 'execute.node_lost' : isLate ? 'node.deadline_exceeded' : null;
    this.#events.push({ kind: 'end', atMs: this.#nowMs + lasts * 1_000, unit, node, failure });
  }

  #finish(unit: SimUnit, node: SimNode, failure: ErrorCode | null): void {
    const { scheduler, observers } = this.#options;
    node.freeSlots += 1;
    scheduler.released(node);
    for (const observer of observers) observer.onReleased?.(unit, node, this.#nowMs);
    if (this.#waiting > 0 && !this.#isMatchDue) {
      this.#isMatchDue = true;
      this.#events.push({ kind: 'match', atMs: this.#nowMs + MATCH_DELAY_MS });
    }
    if (failure === null) return this.#end(unit, 'completed');
    unit.failures.push(failure);
    unit.usedNodes.push(node.nodeId);
    if (afterFailure(unit.failures).kind === 'end') return this.#end(unit, 'failed');
    this.#schedule(unit);
  }

  #end(unit: SimUnit, outcome: Outcome): void {
    for (const observer of this.#options.observers) observer.onEnded?.(unit, outcome, this.#nowMs);
  }
}

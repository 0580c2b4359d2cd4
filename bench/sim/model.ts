import type { ErrorCode } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Priority } from '../../protocol/receive.ts';
import type { Candidate, Requirements } from '../../protocol/schedule.ts';

/** A node, as the scheduler sees it; its slots are taken and come back. */
export interface SimNode extends Candidate {
  readonly slots: number;
  freeSlots: number;
}

/** A unit of work from its acceptance to its end. Times are milliseconds from the start. */
export interface SimUnit extends Requirements {
  /** Counts from 0 in the order of acceptance; stands for the unit's id. */
  readonly index: number;
  readonly priority: Priority;
  readonly acceptedAtMs: number;
  readonly deadlineSeconds: number;
  /** In the waiting order. */
  readonly placeMs: number;
  /** What the run will really cost; at most `complexity`. */
  readonly runTokens: number;
  /** The smallest tier of the pool that can serve it in time, be it busy; Infinity: none. */
  readonly smallestTier: number;
  readonly usedNodes: NodeId[];
  readonly failures: ErrorCode[];
  isWaiting: boolean;
}

/** How a unit ended. */
export type Outcome = 'completed' | 'failed' | 'elapsed';

/** What decides; the simulation does the rest. */
export interface Scheduler {
  /** @returns the node for a unit that has come or is dispatched again; null: it waits. */
  choose(unit: SimUnit): SimNode | null;
  hold(unit: SimUnit): void;
  /** It waits no longer, since its deadline elapsed. */
  drop(unit: SimUnit): void;
  /** One of the node's slots was taken. */
  taken(node: SimNode): void;
  /** One of the node's slots came back. */
  released(node: SimNode): void;
  /** One round of the matcher: free slots for waiting units. `assign` takes the slot at once. */
  match(assign: (unit: SimUnit, node: SimNode) => void): void;
}

/** What looks on. */
export interface Observer {
  onHeld?(unit: SimUnit, atMs: number): void;
  /** It waits no longer: it gets a node, or its deadline elapsed. */
  onLeft?(unit: SimUnit, atMs: number): void;
  /** Just before the slot is taken. */
  onAssigned?(unit: SimUnit, node: SimNode, atMs: number): void;
  onReleased?(unit: SimUnit, node: SimNode, atMs: number): void;
  onEnded?(unit: SimUnit, outcome: Outcome, atMs: number): void;
}

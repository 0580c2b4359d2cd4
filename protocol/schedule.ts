import type { NodeId } from './ids.ts';
import type { WorkloadClassName } from './workload.ts';

/** A node counts as online for this long after its last heartbeat (it sends one every 2 s). */
export const ONLINE_SECONDS = 8;

/** What a unit asks of a node. */
export interface Requirements {
  readonly workloadClass: WorkloadClassName;
  readonly modelDigest: string;
  readonly hardwareTier: number;
  /** In the measure of the workload class; tokens for inference. */
  readonly complexity: number;
}

/** What the scheduler knows of a node that has a free slot. */
export interface Candidate {
  readonly nodeId: NodeId;
  readonly tier: number;
  readonly workloadClasses: readonly string[];
  readonly modelDigest: string;
  readonly online: boolean;
  readonly freeSlots: number;
  /** Measured, in the measure of the workload class per second. */
  readonly throughputPerSecond: number;
}

/** Names of the filters, for `explain`: why a node didn't get a unit. */
export type FailedFilter =
  | 'offline'
  | 'workload_class'
  | 'model'
  | 'tier'
  | 'already_used'
  | 'no_free_slot'
  | 'too_slow_for_deadline';

/** At launch every node has the same weight (spec step 03); one function, so it can change. */
export function reputation(_nodeId: NodeId): number {
  return 1;
}

/**
 * Signals one to three of the specification for one node: capability, capacity, and whether the
 * estimate clears the deadline.
 *
 * @returns the first filter that fails, in the specification's order, or null when the node fits.
 */
export function failedFilter(
  node: Candidate,
  unit: Requirements,
  usedNodes: readonly NodeId[],
  remainingSeconds: number,
): FailedFilter | null {
  if (!node.online) return 'offline';
  if (!node.workloadClasses.includes(unit.workloadClass)) return 'workload_class';
  if (node.modelDigest !== unit.modelDigest) return 'model';
  if (node.tier < unit.hardwareTier) return 'tier';
  if (usedNodes.includes(node.nodeId)) return 'already_used';
  if (node.freeSlots < 1) return 'no_free_slot';
  // Written so that a throughput that isn't a number doesn't pass.
  return estimateSeconds(node, unit) <= remainingSeconds ? null : 'too_slow_for_deadline';
}

/**
 * Step 3: the node for a unit, or null when no candidate fits. Among those that fit the smallest
 * wins (tier, then throughput × reputation), which keeps the large ones free for what needs them;
 * the id breaks ties so that the choice is reproducible.
 */
export function chooseNode(
  candidates: readonly Candidate[],
  unit: Requirements,
  usedNodes: readonly NodeId[],
  remainingSeconds: number,
): Candidate | null {
  const fitting = candidates
    .filter((node) => failedFilter(node, unit, usedNodes, remainingSeconds) === null)
    .toSorted(
      (a, b) =>
        a.tier - b.tier ||
        size(a) - size(b) ||
        (a.nodeId < b.nodeId ? -1 : a.nodeId > b.nodeId ? 1 : 0),
    );
  return fitting[0] ?? null;
}

/** How long the node would need, by its measured throughput. */
export function estimateSeconds(node: Candidate, unit: Requirements): number {
  return unit.complexity / node.throughputPerSecond;
}

function size(node: Candidate): number {
  return node.throughputPerSecond * reputation(node.nodeId);
}

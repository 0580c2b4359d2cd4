import type { NodeId } from './ids.ts';
import type { Feature, Priority } from './receive.ts';
import type { WorkloadClassName } from './workload.ts';

/** A node counts as online for this long after its last heartbeat (it sends one every 2 s). */
export const ONLINE_SECONDS = 8;

/** How many qualifying nodes the decision is shown (design §6). */
export const CANDIDATES_MAX = 16;

/** What a unit asks of a node. */
export interface Requirements {
  readonly workloadClass: WorkloadClassName;
  readonly modelDigest: string;
  readonly hardwareTier: number;
  /** In the measure of the workload class; tokens for inference. */
  readonly complexity: number;
  /** What the node's backend has to be able to do besides chat. Absent means nothing. */
  readonly features?: readonly Feature[] | undefined;
}

/** Whether a node is in the pool. Only an active one gets work. */
export type NodeStatus = 'probing' | 'active' | 'draining' | 'removed';

/** What the scheduler knows of a node. */
export interface Candidate {
  readonly nodeId: NodeId;
  readonly status: NodeStatus;
  /** Attested by the coordinator. */
  readonly tier: number;
  readonly workloadClasses: readonly string[];
  readonly modelDigest: string;
  /** What its backend can do besides chat, by its own word. */
  readonly features: readonly string[];
  /** Whether it sends heartbeats. */
  readonly online: boolean;
  /** Whether its backend can serve, by its own word. */
  readonly ready: boolean;
  /** Of its machine, as far as it may use them. */
  readonly freeSlots: number;
  /** Measured by the coordinator, in the measure of the workload class per second. */
  readonly throughputPerSecond: number;
}

/** Names of the filters, for `explain`: why a node didn't get a unit. */
export type FailedFilter =
  | Exclude<NodeStatus, 'active'>
  | 'offline'
  | 'backend_gone'
  | 'workload_class'
  | 'model'
  | 'features'
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
  if (node.status !== 'active') return node.status;
  if (!node.online) return 'offline';
  if (!node.ready) return 'backend_gone';
  if (!node.workloadClasses.includes(unit.workloadClass)) return 'workload_class';
  if (node.modelDigest !== unit.modelDigest) return 'model';
  if (missingFeatures(node, unit).length > 0) return 'features';
  if (node.tier < unit.hardwareTier) return 'tier';
  if (usedNodes.includes(node.nodeId)) return 'already_used';
  if (node.freeSlots < 1) return 'no_free_slot';
  // Written so that a throughput that isn't a number doesn't pass.
  return estimateSeconds(node, unit) <= remainingSeconds ? null : 'too_slow_for_deadline';
}

/** What a unit asks for and a node's backend can't do. */
export function missingFeatures(
  { features }: Pick<Candidate, 'features'>,
  unit: Pick<Requirements, 'features'>,
): readonly Feature[] {
  return (unit.features ?? []).filter((feature) => !features.includes(feature));
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
    .toSorted(bySize);
  return fitting[0] ?? null;
}

/**
 * The node for a check: the first one that fits. The caller has put them in an order that is drawn
 * with a committed secret, so that no node can arrange to check a certain other one (design §7).
 */
export function chooseChecker(
  candidates: readonly Candidate[],
  unit: Requirements,
  usedNodes: readonly NodeId[],
  remainingSeconds: number,
): Candidate | null {
  const fits = (node: Candidate) => failedFilter(node, unit, usedNodes, remainingSeconds) === null;
  return candidates.find(fits) ?? null;
}

/** Best-fit order: the smallest first. */
export function bySize(a: Candidate, b: Candidate): number {
  return (
    a.tier - b.tier || size(a) - size(b) || (a.nodeId < b.nodeId ? -1 : a.nodeId > b.nodeId ? 1 : 0)
  );
}

/** How long the node would need, by its measured throughput. */
export function estimateSeconds(node: Candidate, unit: Requirements): number {
  return unit.complexity / node.throughputPerSecond;
}

function size(node: Candidate): number {
  return node.throughputPerSecond * reputation(node.nodeId);
}

/**
 * How much later a unit of each priority may have come and still go first, in seconds. Together
 * with `LARGEST_FIRST_SECONDS` half of the default deadline: whoever waits longer than that is
 * overtaken by nobody who comes.
 */
const PRIORITY_LAG_SECONDS: Readonly<Record<Priority, number>> = {
  urgent: 0,
  expedited: 15,
  standard: 45,
};
const LARGEST_FIRST_SECONDS = 15;
/** Where size counts for half of `LARGEST_FIRST_SECONDS`: about a page of text. */
const MEDIUM_COMPLEXITY = 2_048;

/** Nothing is idle for it: it only says how long a turn counts among those that wait. */
const TURN_TOKENS_PER_SECOND = 2_048;

/**
 * No unit is overtaken by one whose turn begins this much later, whatever their priorities. A turn
 * begins when the unit is accepted, unless others of its account wait before it.
 */
export const OVERTAKE_SECONDS_MAX = PRIORITY_LAG_SECONDS.standard + LARGEST_FIRST_SECONDS;

/** What decides where in the waiting order a unit stands. */
export interface Queued {
  readonly priority: Priority;
  readonly complexity: number;
  /**
   * Milliseconds since the epoch: when the unit was accepted, or, if others of its account waited
   * before it, when their turns end. Its age counts from here.
   */
  readonly turnMs: number;
}

/**
 * When the turn of a waiting unit ends, and that of the next one of its account and priority begins
 * (start-time fair queueing: Goyal, Vin and Cheng, 1996). It takes as long as the unit is large, so
 * that accounts which wait side by side get the same share of the tokens, however many requests
 * they send; whoever waits with little has its turn before the rest of another's burst.
 */
export function turnEndsMs({ complexity, turnMs }: Omit<Queued, 'priority'>): number {
  return turnMs + (complexity / TURN_TOKENS_PER_SECOND) * 1_000;
}

/**
 * The place of a unit among those that wait; the lowest goes first. Priority comes first, then
 * complexity (largest first: best-fit decreasing), and age raises all alike, so that of two units
 * the same one is first at any time: the place is a constant, which an index can keep, and nothing
 * starves.
 *
 * @returns milliseconds since the epoch: when the turn of an urgent unit of no size would have to
 *   begin for it to stand here.
 */
export function waitingPlaceMs({ priority, complexity, turnMs }: Queued): number {
  const size = complexity / (complexity + MEDIUM_COMPLEXITY);
  const lagSeconds = PRIORITY_LAG_SECONDS[priority] - LARGEST_FIRST_SECONDS * size;
  return turnMs + lagSeconds * 1_000;
}

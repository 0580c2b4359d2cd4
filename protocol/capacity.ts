import type { FailedFilter } from './schedule.ts';

/**
 * What kept a request from every node: the filter that the nearest one failed, `no_nodes` when the
 * pool is empty, or `others_first` when a node was free and others came before.
 */
export type CapacityPredicate = Exclude<FailedFilter, 'removed'> | 'no_nodes' | 'others_first';

/**
 * Why a request found no node before its deadline, as it was then. It is kept with the request and
 * shown to its account, in these names.
 */
export interface CapacityDetail {
  readonly predicate: CapacityPredicate;
  /** Its place in the waiting order, 1 for the first; null when it hadn't begun to wait. */
  readonly queue_position: number | null;
  /** How many waited, itself included. */
  readonly queue_length: number;
}

/**
 * The nearest node passes most of these, in this order: what waiting doesn't change comes first,
 * so that a node which is only busy counts as nearer than one which is too small.
 */
export const NEARNESS = [
  'workload_class',
  'model',
  'features',
  'probing',
  'tier',
  'too_slow_for_deadline',
  'already_used',
  'draining',
  'offline',
  'backend_gone',
  'no_free_slot',
  'others_first',
] as const satisfies readonly CapacityPredicate[];

const MESSAGES: Readonly<Record<CapacityPredicate, string>> = {
  no_nodes: 'The pool has no nodes.',
  workload_class: 'No node serves the workload class.',
  model: 'No node serves the model.',
  features: 'No node of the model can do what was asked for besides a plain chat.',
  probing: 'The nodes of this model are still being measured.',
  tier: 'All nodes of this model are of a lower tier than was asked for.',
  too_slow_for_deadline: 'All nodes that fit would need longer than the deadline allows.',
  already_used: 'All nodes that fit have had the request before.',
  draining: 'All nodes that fit are draining.',
  offline: 'All nodes that fit are offline.',
  backend_gone: 'The backends of all nodes that fit are away.',
  no_free_slot: 'All nodes that fit were busy.',
  others_first: 'A node was free, but requests that had waited longer came first.',
};

/** For people, after the message of the code. */
export function capacityMessage(detail: CapacityDetail): string {
  const { predicate, queue_position: position, queue_length: length } = detail;
  const place = position === null ? '' : ` It was number ${position} of ${length} that waited.`;
  return `${MESSAGES[predicate]}${place}`;
}

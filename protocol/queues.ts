import type { NodeId } from './ids.ts';

/** Where workflows run. */
export const COORDINATOR_QUEUE = 'coordinator';

/** The task queue that one node alone polls. */
export function nodeQueue(nodeId: NodeId): string {
  return `node.${nodeId}`;
}

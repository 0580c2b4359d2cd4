import type { Transaction } from '../prisma/client.ts';
import type { NodeId } from '../protocol/ids.ts';
import { removalReason } from '../protocol/removal.ts';
import { observe, sprtPlan } from '../protocol/sprt.ts';
import { WORKLOAD_CLASSES, type WorkloadClassName } from '../protocol/workload.ts';
import { removeNode } from './removal.ts';

/**
 * Takes note of one vote of a node: by the sequential test of its class it is cleared, removed, or
 * nothing is known yet. The caller makes sure that a vote is noted once.
 *
 * @returns whether the node was removed by it.
 */
export async function observeVote(
  transaction: Transaction,
  nodeId: NodeId,
  workloadClass: WorkloadClassName,
  agrees: boolean,
): Promise<boolean> {
  await transaction.$executeRaw`
    INSERT INTO node_trust (node_id, workload_class) VALUES (${nodeId}, ${workloadClass})
    ON CONFLICT (node_id, workload_class) DO NOTHING`;
  const [known] = await transaction.$queryRaw<{ log_ratio: number }[]>`
    SELECT log_ratio FROM node_trust
    WHERE node_id = ${nodeId} AND workload_class = ${workloadClass} FOR UPDATE`;
  const plan = sprtPlan(WORKLOAD_CLASSES[workloadClass].honestErrorRate);
  const { logRatio, verdict } = observe(known?.log_ratio ?? 0, agrees, plan);
  await transaction.$executeRaw`
    UPDATE node_trust SET checked = checked + 1, log_ratio = ${logRatio}::float8,
      cleared_at = CASE WHEN ${verdict === 'clear'} THEN now() ELSE cleared_at END
    WHERE node_id = ${nodeId} AND workload_class = ${workloadClass}`;
  const reason = removalReason({ verdict, badProofs: 0 });
  return reason !== null && removeNode(transaction, nodeId, reason);
}

/**
 * A node that was in a vote without a majority may be the one that lied: until so many of its units
 * were compared as of a new node, all of them are checked. Nothing else follows from it.
 */
export async function suspect(transaction: Transaction, nodeId: NodeId): Promise<void> {
  await transaction.$executeRaw`
    UPDATE node_trust SET checked = 0 WHERE node_id = ${nodeId}`;
}

import type { Transaction } from '../prisma/client.ts';
import { closeUptime } from '../prisma/uptime.ts';
import type { NodeId } from '../protocol/ids.ts';
import { BAD_PROOFS_DAYS, removalReason, type RemovalCode } from '../protocol/removal.ts';

/** How far back what a removed node has served is given back. */
const REFUND_DAYS = 7;

/**
 * Takes a node out of the active pool for good, until somebody lets it in again: what it registers
 * from now on changes nothing of that. It touches no stake. If its results were wrong, what it
 * served unchecked since it came, but for `REFUND_DAYS` at most, is given back
 * (`intake/refunds.ts`).
 *
 * @returns false when it was removed before.
 */
export async function removeNode(
  transaction: Transaction,
  nodeId: NodeId,
  code: RemovalCode,
): Promise<boolean> {
  const isRefunded = code === 'node.removed_wrong_results';
  const removed = await transaction.$executeRaw`
    UPDATE node SET status = 'removed', probe_until = NULL,
      -- What is owed since an earlier removal, and wasn't given back yet, still is.
      refund_since = CASE WHEN ${isRefunded} THEN least(refund_since, greatest(registered_at,
        now() - make_interval(days => ${REFUND_DAYS}::int),
        (SELECT max(created_at) FROM node_review
         WHERE node_id = node.id AND decision = 'reinstated'))) ELSE refund_since END
    WHERE id = ${nodeId} AND status <> 'removed'`;
  if (removed === 0) return false;
  await transaction.$executeRaw`
    INSERT INTO node_review (node_id, decision, code) VALUES (${nodeId}, 'removed', ${code})`;
  await transaction.$executeRaw`
    INSERT INTO node_transition (node_id, code) VALUES (${nodeId}, 'node.removed')`;
  await closeUptime(transaction, nodeId, 'node.removed');
  return true;
}

/** Removes a node that has returned too many bad proofs. @returns whether it did. */
export async function removeForBadProofs(
  transaction: Transaction,
  nodeId: NodeId,
): Promise<boolean> {
  // One after the other, or each of two that are reported at once would miss the other.
  await transaction.$queryRaw`SELECT id FROM node WHERE id = ${nodeId} FOR NO KEY UPDATE`;
  const [row] = await transaction.$queryRaw<{ faults: number }[]>`
    SELECT count(*)::int AS faults FROM node_event
    WHERE node_id = ${nodeId} AND starts_with(code, 'poe.')
      AND created_at > now() - make_interval(days => ${BAD_PROOFS_DAYS}::int)
      AND created_at > coalesce((SELECT max(created_at) FROM node_review
                                 WHERE node_id = ${nodeId} AND decision = 'reinstated'), 'epoch')`;
  const reason = removalReason({ verdict: 'continue', badProofs: row?.faults ?? 0 });
  return reason !== null && removeNode(transaction, nodeId, reason);
}

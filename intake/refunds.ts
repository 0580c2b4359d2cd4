import { inTransaction, sql, type Database } from '../prisma/client.ts';
import { errorDefinition } from '../protocol/errors.ts';
import { shortId, type NodeId, type RequestId } from '../protocol/ids.ts';
import type { BackgroundDependencies } from './background.ts';

const ROUND_MAX = 100;
const CODE = 'node.removed_wrong_results';

/** Up to its removal: what it serves once it was let in again is another matter. */
const OWED = sql`reserved_at BETWEEN refund_since AND (
  SELECT max(created_at) FROM node_review
  WHERE node_review.node_id = node.id AND decision = 'removed')`;

interface ServedRow {
  id: RequestId;
  node_id: NodeId;
  refunded_wei: string;
}

/**
 * Gives back what was charged for work of nodes that were removed for wrong results: all that they
 * served since they came, or in the last days, and that nobody checked. Nobody knows which of it
 * was wrong; so nobody pays for it, and its record says so. Once, however often it runs.
 *
 * @returns the requests that were refunded in this round; the next one goes on.
 */
export async function refund({
  database,
  log,
}: Pick<BackgroundDependencies, 'database' | 'log'>): Promise<readonly RequestId[]> {
  const refunded = await inTransaction(
    database,
    (transaction) =>
      transaction.$queryRaw<ServedRow[]>`
      WITH served AS (
        SELECT request.id, account_id, charged_wei, node.id AS node_id
        FROM node JOIN dispatch ON dispatch.node_id = node.id AND ${OWED}
          JOIN proof USING (unit_id, dispatch) JOIN request ON request.id = unit_id
          LEFT JOIN verification USING (unit_id)
        WHERE refund_since IS NOT NULL AND dispatch.outcome = 'accepted' AND NOT is_check
          AND (NOT is_sampled OR verification.outcome = 'hash_only')
          AND request.status = 'completed' AND charged_wei > 0 AND refund_code IS NULL
        ORDER BY request.id LIMIT ${ROUND_MAX} FOR UPDATE OF request),
      paid AS (
        SELECT id, node_id, charged_wei, ledger_refund(id, account_id, charged_wei)::text AS done
        FROM served)
      UPDATE request SET refunded_wei = paid.charged_wei, refund_code = ${CODE}
      FROM paid WHERE request.id = paid.id AND paid.done IS NOT NULL
      RETURNING request.id, paid.node_id, request.refunded_wei::text`,
  );
  const { message } = errorDefinition(CODE);
  for (const { id, node_id: nodeId, refunded_wei: refundedWei } of refunded)
    log.warn(
      { request: shortId(id), node: shortId(nodeId), refundedWei, code: CODE },
      `coordinator // refunded: ${message}`,
    );
  if (refunded.length === 0) await finish(database);
  return refunded.map(({ id }) => id);
}

/** Nothing is left to give back once nothing that such a node has served is under way. */
async function finish(database: Database): Promise<void> {
  await database.$executeRaw`
    UPDATE node SET refund_since = NULL
    WHERE refund_since IS NOT NULL AND NOT EXISTS (
      SELECT FROM dispatch JOIN request ON request.id = unit_id
      WHERE dispatch.node_id = node.id AND ${OWED}
        AND request.finished_at IS NULL)`;
}

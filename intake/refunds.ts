import { inTransaction, sql, type Database, type Transaction } from '../prisma/client.ts';
import { errorDefinition } from '../protocol/errors.ts';
import { shortId, type NodeId, type RequestId } from '../protocol/ids.ts';
import type { BackgroundDependencies } from './background.ts';

const ROUND_MAX = 100;
const CODE = 'node.removed_wrong_results';

/** Up to its removal: what it serves once it was let in again is another matter. */
const OWED = sql`reserved_at BETWEEN refund_since AND (
  SELECT max(created_at) FROM node_review
  WHERE node_review.node_id = node.id AND decision = 'removed' AND code = ${CODE})`;

/**
 * A request that was charged for what nobody checked, and wasn't given back yet. What was streamed
 * before a cancellation is charged, and is never checked.
 */
const REFUNDABLE = sql`
  NOT is_check AND charged_wei > 0 AND refund_code IS NULL
  AND ((request.status = 'completed' AND dispatch.outcome = 'accepted'
        AND (NOT is_sampled OR verification.outcome = 'hash_only'))
       OR (request.status = 'cancelled' AND dispatch.outcome = 'execute.cancelled'))`;

interface ServedRow {
  id: RequestId;
  account_id: string;
  node_id: NodeId;
}

interface RefundedRow {
  id: RequestId;
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
  const refunded = await inTransaction(database, async (transaction) => {
    const served = await lockServed(transaction);
    return served.length === 0 ? [] : pay(transaction, served);
  });
  const { message } = errorDefinition(CODE);
  for (const { id, nodeId, refundedWei } of refunded)
    log.warn(
      { request: shortId(id), node: shortId(nodeId), refundedWei, code: CODE },
      `coordinator // refunded: ${message}`,
    );
  if (refunded.length === 0) await finish(database);
  return refunded.map(({ id }) => id);
}

/** Requests before accounts, as when one is settled. */
function lockServed(transaction: Transaction): Promise<ServedRow[]> {
  return transaction.$queryRaw<ServedRow[]>`
    SELECT request.id, account_id, node.id AS node_id
    FROM node JOIN dispatch ON dispatch.node_id = node.id AND ${OWED}
      JOIN request ON request.id = unit_id
      LEFT JOIN proof USING (unit_id, dispatch) LEFT JOIN verification USING (unit_id)
    WHERE refund_since IS NOT NULL AND ${REFUNDABLE}
    ORDER BY request.id LIMIT ${ROUND_MAX} FOR UPDATE OF request`;
}

async function pay(transaction: Transaction, served: readonly ServedRow[]) {
  // All accounts at once and in their order: whoever settles one of theirs would wait for `usage`.
  const accounts = served.map(({ account_id: accountId }) => `${accountId}:available`);
  await transaction.$queryRaw`
    SELECT id FROM ledger_account WHERE id = ANY (${[...new Set(accounts), 'usage']}::text[])
    ORDER BY id FOR UPDATE`;
  const nodes = new Map(served.map(({ id, node_id: nodeId }) => [id, nodeId]));
  // Then their keys, in the order in which changes of keys lock two: counters follow the requests.
  await transaction.$queryRaw`
    SELECT id FROM api_key
    WHERE id IN (SELECT key_id FROM request WHERE id = ANY (${[...nodes.keys()]}::text[]))
    ORDER BY id COLLATE "C" FOR NO KEY UPDATE`;
  const rows = await transaction.$queryRaw<RefundedRow[]>`
    WITH paid AS (
      SELECT id, charged_wei, ledger_refund(id, account_id, charged_wei)::text AS done
      FROM request WHERE id = ANY (${[...nodes.keys()]}::text[]))
    UPDATE request SET refunded_wei = paid.charged_wei, refund_code = ${CODE}
    FROM paid WHERE request.id = paid.id AND paid.done IS NOT NULL
    RETURNING request.id, request.refunded_wei::text`;
  return rows.flatMap(({ id, refunded_wei: refundedWei }) => {
    const nodeId = nodes.get(id);
    return nodeId ? [{ id, nodeId, refundedWei }] : [];
  });
}

/**
 * Nothing is left to give back once nothing that such a node has served is under way, or has ended
 * since this round has looked.
 */
export async function finish(database: Database): Promise<void> {
  await database.$executeRaw`
    UPDATE node SET refund_since = NULL
    WHERE refund_since IS NOT NULL AND NOT EXISTS (
      SELECT FROM dispatch JOIN request ON request.id = unit_id
        LEFT JOIN proof USING (unit_id, dispatch) LEFT JOIN verification USING (unit_id)
      WHERE dispatch.node_id = node.id AND ${OWED}
        AND (request.finished_at IS NULL OR (${REFUNDABLE})))`;
}

import type { Transaction } from './client.ts';

/**
 * A node's uptime counts from now on, if it didn't already. The caller has made sure that the node
 * has shown that it can serve; one that is silent or has no backend is left out.
 */
export async function openUptime(transaction: Transaction, nodeId: string): Promise<void> {
  await transaction.$executeRaw`
    INSERT INTO node_uptime (node_id) SELECT id FROM node
    WHERE id = ${nodeId} AND is_online AND is_ready
    ON CONFLICT (node_id) WHERE ended_at IS NULL DO NOTHING`;
}

/**
 * A node's uptime ends now.
 *
 * @param code why, of docs/errors.md.
 * @returns whether it counted.
 */
export async function closeUptime(
  transaction: Transaction,
  nodeId: string,
  code: string,
): Promise<boolean> {
  const closed = await transaction.$executeRaw`
    UPDATE node_uptime SET ended_at = greatest(began_at, now()), end_code = ${code}
    WHERE node_id = ${nodeId} AND ended_at IS NULL`;
  return closed > 0;
}

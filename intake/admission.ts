import type { Database } from '../prisma/client.ts';
import type { NodeId } from '../protocol/ids.ts';

/** Who may get a first certificate: any node. */
export type JoinPolicy = 'open';

/**
 * Decides whether a node may get a certificate of this network.
 *
 * @param joinToken what the node presents, from outside.
 * @throws CodedError `node.join_refused`.
 */
export async function admitNode(
  _database: Database,
  _policy: JoinPolicy,
  _nodeId: NodeId,
  _joinToken: string | undefined,
): Promise<void> {}

import { joinTokenHash } from '../crypto/join-token.ts';
import type { Database } from '../prisma/client.ts';
import { takeJoinToken } from '../prisma/join-tokens.ts';
import { CodedError } from '../protocol/errors.ts';
import type { NodeId } from '../protocol/ids.ts';

/** Whom a network takes: anybody, or whoever has a join token. */
export type JoinPolicy = 'open' | 'token';

/**
 * Lets a node into the network, before it gets its first certificate. One that was let in before
 * needs no token again; otherwise a use of its token is taken.
 *
 * @throws CodedError `node.join_refused`
 */
export async function admitNode(
  database: Database,
  policy: JoinPolicy,
  nodeId: NodeId,
  joinToken?: string,
): Promise<void> {
  if (policy === 'open') return;
  const [known] = await database.$queryRaw<object[]>`
    SELECT WHERE EXISTS (SELECT FROM node_certificate WHERE node_id = ${nodeId})
              OR EXISTS (SELECT FROM node WHERE id = ${nodeId})`;
  if (known) return;
  if (joinToken === undefined) throw new CodedError('node.join_refused', 'It has none.');
  if (!(await takeJoinToken(database, joinTokenHash(joinToken))))
    throw new CodedError('node.join_refused', 'Its token is unknown, used up or has ended.');
}

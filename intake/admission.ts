import { createHash } from 'node:crypto';
import type { Database } from '../prisma/client.ts';
import { CodedError } from '../protocol/errors.ts';
import type { NodeId } from '../protocol/ids.ts';

/** Whom a network takes: anybody, or whoever has a join token. */
export type JoinPolicy = 'open' | 'token';

/**
 * Lets a node into the network, before it gets its first certificate. One that was let in before
 * needs no token again. Otherwise a use of its token is taken, by one statement, so that a token
 * never lets in more nodes than it has uses.
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
  const taken = await database.$executeRaw`
    UPDATE join_token SET uses_left = uses_left - 1
    WHERE hash = ${joinTokenHash(joinToken)} AND uses_left > 0 AND expires_at > now()`;
  if (taken === 0)
    throw new CodedError('node.join_refused', 'Its token is unknown, used up or has ended.');
}

/** What is stored of a join token: a hash alone lets nobody in. */
function joinTokenHash(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

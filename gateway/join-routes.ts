import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { drawJoinToken, joinTokenHash } from '../crypto/join-token.ts';
import {
  endJoinToken,
  isJoinToken,
  listJoinTokens,
  storeJoinToken,
  type JoinTokenRow,
} from '../prisma/join-tokens.ts';
import { CodedError } from '../protocol/errors.ts';
import { authenticateAdmin, type GatewayDependencies } from './context.ts';
import { limitParameter, listPage, noParameters, parseQuery } from './query.ts';
import type { IdParams } from './request-routes.ts';

const USES_MAX = 1_000;
const LIFE_SECONDS_MAX = 30 * 86_400;
const ID = /^jt_([0-9a-f]{64})$/;

export const joinTokensQuery = z.strictObject({
  limit: limitParameter(20, 100),
  after: z.string().regex(ID, 'is not the id of a join token').optional(),
});

export const made = z.strictObject({
  uses: z.int().min(1).max(USES_MAX).default(1),
  expires_in_seconds: z.int().min(1).max(LIFE_SECONDS_MAX).default(86_400),
});

/** Tokens by which nodes get into a network that isn't open. For admins alone. */
export function joinRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  const { database, log } = dependencies;
  app.post('/v1/join-tokens', async (request, reply) => {
    const { accountId: admin } = await authenticateAdmin(database, request);
    parseQuery(noParameters, request.query);
    const { uses, expires_in_seconds: seconds } = parseQuery(made, request.body ?? {});
    const token = drawJoinToken();
    const row = await storeJoinToken(database, joinTokenHash(token), uses, seconds);
    const view = describe(row);
    log.info({ id: view.id, uses, seconds, admin }, 'gateway // join token made');
    // Here and never again.
    return reply
      .code(201)
      .header('cache-control', 'no-store')
      .send({ ...view, token });
  });
  app.get('/v1/join-tokens', async (request) => {
    await authenticateAdmin(database, request);
    const { limit, after } = parseQuery(joinTokensQuery, request.query);
    const from = after === undefined ? null : hashOf(after);
    if (from !== null && !(await isJoinToken(database, from)))
      throw new CodedError('gateway.join_token_not_found');
    const rows = await listJoinTokens(database, from, limit + 1);
    return listPage(rows, limit, describe);
  });
  app.delete<IdParams>('/v1/join-tokens/:id', async (request) => {
    const { accountId: admin } = await authenticateAdmin(database, request);
    parseQuery(noParameters, request.query);
    const { id } = request.params;
    if (!(await endJoinToken(database, hashOf(id))))
      throw new CodedError('gateway.join_token_not_found');
    log.info({ id, admin }, 'gateway // join token ended');
    return { id, object: 'join_token' as const, ended: true };
  });
}

function describe({ hash, usesLeft, createdAt, expiresAt }: JoinTokenRow) {
  return {
    id: `jt_${hash}`,
    object: 'join_token' as const,
    uses_left: usesLeft,
    created_at: createdAt.toISOString(),
    expires_at: expiresAt.toISOString(),
  };
}

function hashOf(id: string): string {
  const hash = ID.exec(id)?.[1];
  if (hash === undefined) throw new CodedError('gateway.join_token_not_found');
  return hash;
}

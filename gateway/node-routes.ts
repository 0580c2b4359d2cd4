import type { FastifyInstance } from 'fastify';
import { readNode, readPool, type PoolNode } from '../prisma/pool.ts';
import { CodedError } from '../protocol/errors.ts';
import { ONLINE_SECONDS } from '../protocol/schedule.ts';
import { authenticate, type GatewayDependencies } from './context.ts';
import { parseQuery } from './query.ts';
import { noParameters, type IdParams } from './request-routes.ts';

/**
 * `GET /v1/nodes`: the pool, smallest node first, which is the order in which they get work.
 * `GET /v1/nodes/{id}`: one node, also one that was removed from the pool.
 */
export function nodeRoutes(app: FastifyInstance, { database }: GatewayDependencies): void {
  app.get('/v1/nodes', async (request) => {
    await authenticate(database, request);
    parseQuery(noParameters, request.query);
    return { object: 'list', data: (await readPool(database)).map(describeNode) };
  });
  app.get<IdParams>('/v1/nodes/:id', async (request) => {
    await authenticate(database, request);
    parseQuery(noParameters, request.query);
    const node = await readNode(database, request.params.id);
    if (!node) throw new CodedError('gateway.node_not_found');
    return describeNode(node);
  });
}

/** What the API says of a node. */
export function describeNode(node: PoolNode) {
  return {
    id: node.id,
    object: 'node' as const,
    name: node.name,
    operator: node.operatorId,
    tier: node.tier,
    claimed_tier: node.claimedTier,
    model: node.modelId,
    engine: node.engine,
    status: node.status,
    online: isOnline(node),
    ready: node.ready,
    slots_free: node.slotsFree,
    slots_total: node.slotsTotal,
    tokens_per_second: node.tokensPerSecond,
    claimed_tokens_per_second: node.claimedTokensPerSecond,
    registered_at: node.registeredAt.toISOString(),
    last_seen_at: node.lastSeenAt.toISOString(),
    flags: node.flags,
  };
}

/** As Schedule sees it. */
export function isOnline({ isOnline, silentSeconds }: PoolNode): boolean {
  return isOnline && silentSeconds < ONLINE_SECONDS;
}

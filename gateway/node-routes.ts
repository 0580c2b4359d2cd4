import type { FastifyInstance } from 'fastify';
import { readNode, readPool } from '../prisma/pool.ts';
import { CodedError } from '../protocol/errors.ts';
import { describeNode } from '../protocol/explanation.ts';
import { isNodeId } from '../protocol/ids.ts';
import { authenticate, type GatewayDependencies } from './context.ts';
import { noParameters, parseQuery } from './query.ts';
import type { IdParams } from './request-routes.ts';

/**
 * `GET /v1/nodes`: the pool, smallest node first, which is the order in which they get work.
 * `GET /v1/nodes/{id}`: one node, also one that was removed from the pool.
 */
export function nodeRoutes(app: FastifyInstance, { database }: GatewayDependencies): void {
  app.get('/v1/nodes', async (request) => {
    await authenticate(database, request, 'read');
    parseQuery(noParameters, request.query);
    return { object: 'list', data: (await readPool(database)).map(describeNode) };
  });
  app.get<IdParams>('/v1/nodes/:id', async (request) => {
    await authenticate(database, request, 'read');
    parseQuery(noParameters, request.query);
    const { id } = request.params;
    const node = isNodeId(id) ? await readNode(database, id) : null;
    if (!node) throw new CodedError('gateway.node_not_found');
    return describeNode(node);
  });
}

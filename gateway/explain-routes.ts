import type { FastifyInstance } from 'fastify';
import { readNodeSituation, readRequestSituation } from '../prisma/situation.ts';
import { CodedError } from '../protocol/errors.ts';
import { explainPoolNode, explainRequest } from '../protocol/explanation.ts';
import { isNodeId } from '../protocol/ids.ts';
import { ONLINE_SECONDS } from '../protocol/schedule.ts';
import { authenticate, type GatewayDependencies } from './context.ts';
import { noParameters, parseQuery } from './query.ts';
import { authorisedRequest, type IdParams } from './request-routes.ts';

/** `GET /v1/requests/{id}/explain` and `GET /v1/nodes/{id}/explain`. */
export function explainRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  const { database } = dependencies;
  app.get<IdParams>('/v1/requests/:id/explain', async (request) => {
    const record = await authorisedRequest(dependencies, request, 'read');
    return explainRequest(await readRequestSituation(database, record));
  });
  app.get<IdParams>('/v1/nodes/:id/explain', async (request) => {
    await authenticate(database, request, 'read');
    parseQuery(noParameters, request.query);
    const { id } = request.params;
    const situation = isNodeId(id) && (await readNodeSituation(database, id, ONLINE_SECONDS));
    if (!situation) throw new CodedError('gateway.node_not_found');
    return explainPoolNode(situation);
  });
}

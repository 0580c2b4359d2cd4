import type { FastifyInstance } from 'fastify';
import { readModels, type ModelRow } from '../prisma/models.ts';
import { CodedError } from '../protocol/errors.ts';
import { ONLINE_SECONDS } from '../protocol/schedule.ts';
import type { GatewayDependencies } from './context.ts';
import { noParameters, parseQuery } from './query.ts';
import type { IdParams } from './request-routes.ts';

/** `GET /v1/models` and `GET /v1/models/{id}`: what is served, for anybody to see. */
export function modelRoutes(app: FastifyInstance, { database }: GatewayDependencies): void {
  app.get('/v1/models', async ({ query }) => {
    parseQuery(noParameters, query);
    const models = await readModels(database, null, ONLINE_SECONDS);
    return { object: 'list', data: models.map(modelView) };
  });
  app.get<IdParams>('/v1/models/:id', async ({ params: { id }, query }) => {
    parseQuery(noParameters, query);
    // No id has one, and the database can't hold it.
    const [model] = id.includes('\0') ? [] : await readModels(database, id, ONLINE_SECONDS);
    if (!model) throw new CodedError('receive.unknown_model');
    return modelView(model);
  });
}

function modelView(model: ModelRow) {
  return {
    id: model.id,
    object: 'model' as const,
    created: Math.floor(model.createdAt.getTime() / 1_000),
    owned_by: 'parallelix',
    digest: model.digest,
    context_tokens: model.contextTokens,
    prompt_price_wei: model.promptPriceWei,
    completion_price_wei: model.completionPriceWei,
    features: model.features,
  };
}

import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { listReviews, readHistory, readReview, reinstate } from '../prisma/reviews.ts';
import { CodedError } from '../protocol/errors.ts';
import { isNodeId, shortId } from '../protocol/ids.ts';
import { authenticateAdmin, type GatewayDependencies } from './context.ts';
import { limitParameter, listPage, noParameters, parseQuery } from './query.ts';
import type { IdParams } from './request-routes.ts';
import { describeHistory, describeReview } from './review-view.ts';

/** Of each kind of entry in a node's history. */
const HISTORY_MAX = 500;
const REASON_MAX = 1_000;

export const reviewsQuery = z.strictObject({
  limit: limitParameter(20, 100),
  after: z.string().refine(isNodeId, 'is not a node id').optional(),
});

/** PostgreSQL's text has no NUL. */
const reason = z
  .string()
  .trim()
  .min(1, 'is missing')
  .max(REASON_MAX)
  .regex(/^[^\0]*$/, 'has a NUL');
export const reinstateBody = z.strictObject({ reason });

/**
 * Who was removed from the pool or flagged, and why, and letting a node in again. For admins alone:
 * it names requests of all accounts.
 */
export function reviewRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  const { database, log } = dependencies;
  app.get('/v1/nodes/review', async (request) => {
    await authenticateAdmin(database, request);
    const { limit, after } = parseQuery(reviewsQuery, request.query);
    if (after && !(await readReview(database, after)))
      throw new CodedError('gateway.node_not_found');
    const rows = await listReviews(database, after ?? null, limit + 1);
    return listPage(rows, limit, describeReview);
  });
  const reviewed = async (id: string) => {
    const node = isNodeId(id) ? await readReview(database, id) : null;
    if (!node) throw new CodedError('gateway.node_not_found');
    const history = await readHistory(database, id, HISTORY_MAX + 1);
    return { ...describeReview(node), ...describeHistory(history, HISTORY_MAX) };
  };
  app.get<IdParams>('/v1/nodes/:id/review', async (request) => {
    await authenticateAdmin(database, request);
    parseQuery(noParameters, request.query);
    return reviewed(request.params.id);
  });
  app.post<IdParams>('/v1/nodes/:id/reinstate', async (request) => {
    const { accountId: reviewer } = await authenticateAdmin(database, request);
    parseQuery(noParameters, request.query);
    const { reason } = parseQuery(reinstateBody, request.body ?? {});
    const { id } = request.params;
    if (!isNodeId(id) || !(await reinstate(database, id, reviewer, reason))) {
      // Unknown is another answer.
      const { status } = await reviewed(id);
      throw new CodedError('gateway.node_not_removed', `It is ${status}.`);
    }
    log.warn({ node: shortId(id), reviewer, reason }, 'gateway // node reinstated');
    return reviewed(id);
  });
}

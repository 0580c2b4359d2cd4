import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { listRequests, readRequest, type RequestRecord } from '../prisma/requests.ts';
import { CodedError } from '../protocol/errors.ts';
import { isRequestId } from '../protocol/ids.ts';
import { NAME } from '../protocol/receive.ts';
import type { Scope } from '../protocol/keys.ts';
import { FINAL_STATES } from '../protocol/lifecycle.ts';
import { authenticate, type GatewayDependencies } from './context.ts';
import { instantOf, limitParameter, listPage, noParameters, parseQuery } from './query.ts';
import { describeRequest, summariseRequest } from './request-view.ts';
import { cancelRequest } from './run-client.ts';

const LIMIT_DEFAULT = 20;
const LIMIT_MAX = 100;

const instant = instantOf(
  z.iso.datetime({
    offset: true,
    error: 'is not a time in ISO 8601, such as 2026-01-31T12:00:00Z',
  }),
);

export const requestsQuery = z.strictObject({
  limit: limitParameter(LIMIT_DEFAULT, LIMIT_MAX),
  status: z.enum(['accepted', 'running', 'validated', ...FINAL_STATES]).optional(),
  model: z.string().regex(NAME, 'is not a name').optional(),
  created_after: instant.optional(),
  created_before: instant.optional(),
  after: z.string().refine(isRequestId, 'is not a request id').optional(),
});

export interface IdParams {
  Params: { id: string };
}

/** What became of an account's requests, and cancelling them. */
export function requestRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  const { database } = dependencies;
  app.get('/v1/requests', async (request) => {
    const { accountId } = await authenticate(database, request, 'read');
    const query = parseQuery(requestsQuery, request.query);
    const { limit, after } = query;
    if (after) await ownRequest(dependencies, accountId, after);
    // One more than asked for tells whether there are more.
    const rows = await listRequests(database, {
      accountId,
      status: query.status ?? null,
      model: query.model ?? null,
      createdAfter: query.created_after ?? null,
      createdBefore: query.created_before ?? null,
      after: after ?? null,
      limit: limit + 1,
    });
    return listPage(rows, limit, (row) => summariseRequest(row, row));
  });
  app.get<IdParams>('/v1/requests/:id', async (request, reply) => {
    const record = await authorisedRequest(dependencies, request, 'read');
    reply.header('x-request-id', record.id);
    return describeRequest(record, dependencies);
  });
  const cancel = async (request: FastifyRequest<IdParams>, reply: FastifyReply) => {
    const record = await authorisedRequest(dependencies, request, 'inference');
    reply.header('x-request-id', record.id);
    parseQuery(noParameters, request.body ?? {});
    return cancelled(record, reply, dependencies);
  };
  app.post<IdParams>('/v1/requests/:id/cancel', cancel);
  app.delete<IdParams>('/v1/requests/:id', cancel);
  // Its callers don't hang up when it stops.
  app.addHook('preClose', () => dependencies.readers.close());
}

/**
 * The request that a path names, for a caller who may see it.
 *
 * @throws CodedError `receive.unauthorized`, `gateway.scope_missing`, `gateway.request_not_found`,
 *   `receive.malformed_request` for a query that the route doesn't have.
 */
export async function authorisedRequest(
  dependencies: GatewayDependencies,
  request: FastifyRequest<IdParams>,
  scope: Scope,
): Promise<RequestRecord> {
  const { accountId } = await authenticate(dependencies.database, request, scope);
  parseQuery(noParameters, request.query);
  return ownRequest(dependencies, accountId, request.params.id);
}

/** @throws CodedError `gateway.request_not_found` */
export async function ownRequest(
  { database }: GatewayDependencies,
  accountId: string,
  id: string,
): Promise<RequestRecord> {
  const record = isRequestId(id) ? await readRequest(database, id) : undefined;
  // Another account's request is as unknown as none at all.
  if (record?.accountId !== accountId) throw new CodedError('gateway.request_not_found');
  return record;
}

/** Cancels, once: 200 when it is cancelled, now or before; 202 while it is still ending. */
async function cancelled(
  record: RequestRecord,
  reply: FastifyReply,
  dependencies: GatewayDependencies,
) {
  const { id, accountId } = record;
  let current = record;
  if (!record.finishedAt && isRequestId(id)) {
    await cancelRequest(dependencies, id);
    current = await ownRequest(dependencies, accountId, id);
  }
  if (current.finishedAt && current.status !== 'cancelled')
    throw new CodedError('gateway.request_ended', `It is ${current.status}.`);
  reply.code(current.finishedAt ? 200 : 202);
  return describeRequest(current, dependencies);
}

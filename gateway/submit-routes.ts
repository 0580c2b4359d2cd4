import type { FastifyInstance } from 'fastify';
import { serveChat, type ChatEvent } from './chat.ts';
import { nextEvent } from './chat-routes.ts';
import { authenticate, codedError, type GatewayDependencies } from './context.ts';
import { MalformedRequestError } from './errors.ts';
import { deliveryOf, parseChatRequest } from './openai.ts';
import { noParameters } from './request-routes.ts';
import { parseQuery } from './query.ts';
import { temporalUrl } from './request-view.ts';

/** `POST /v1/requests`: a chat request whose caller doesn't wait for the answer. */
export function submitRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  const closing = new AbortController();
  app.addHook('preClose', async () => closing.abort());
  app.post('/v1/requests', async (request, reply) => {
    const { accountId } = await authenticate(dependencies.database, request, 'inference');
    parseQuery(noParameters, request.query);
    const chat = parseChatRequest(request.body);
    if (chat.stream) throw new MalformedRequestError('stream', 'nobody listens: use chat');
    const events = serveChat(dependencies, accountId, chat, closing.signal);
    const { requestId } = await nextEvent(events, 'accepted');
    void follow(events, requestId, dependencies, closing.signal);
    const id = requestId;
    reply.code(202).header('x-request-id', id).header('location', `/v1/requests/${id}`);
    return {
      id,
      object: 'request',
      status: 'accepted',
      workload_class: chat.workload_class,
      model: chat.model,
      hardware_tier: chat.hardware_tier,
      priority: chat.priority,
      deadline_seconds: chat.deadline_seconds,
      delivery: deliveryOf(chat),
      temporal_url: temporalUrl(id, dependencies),
    };
  });
}

/**
 * Stays on the intake call, so that it is repeated if the coordinator is killed before it has
 * started the run. Nobody waits for what comes of it: that is in the request's record.
 */
async function follow(
  events: AsyncGenerator<ChatEvent>,
  requestId: string,
  { log }: GatewayDependencies,
  closing: AbortSignal,
): Promise<void> {
  try {
    while (!(await events.next()).done);
  } catch (error) {
    // The gateway stops; the request doesn't.
    if (closing.aborted) return;
    const { code } = codedError(error);
    log.info({ request: requestId, code }, 'gateway // a submitted request has no result');
  }
}

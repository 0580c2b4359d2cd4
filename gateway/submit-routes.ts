import type { FastifyInstance } from 'fastify';
import type { ChatEvent } from './chat.ts';
import { codedError, type GatewayDependencies } from './context.ts';
import { MalformedRequestError } from './errors.ts';
import { openCall } from './open-call.ts';
import { deliveryOf } from './inference-request.ts';
import { parseChatRequest, type ChatRequest } from './openai.ts';
import { temporalUrl } from './request-view.ts';

const PATH = '/v1/requests';

/** `POST /v1/requests`: a chat request whose caller doesn't wait for the answer. */
export function submitRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  const closing = new AbortController();
  app.addHook('preClose', async () => closing.abort());
  app.post(PATH, async (request, reply) => {
    const { chat, requestId, events } = await openCall(dependencies, {
      route: PATH,
      request,
      reply,
      parse: parseSubmission,
      gone: closing.signal,
    });
    void follow(events, requestId, dependencies, closing.signal);
    const id = requestId;
    reply.code(202).header('location', `${PATH}/${id}`);
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

/** A chat request, without what only makes sense for somebody who listens. */
function parseSubmission(body: unknown): ChatRequest {
  const chat = parseChatRequest(body);
  if (chat.stream) throw new MalformedRequestError('stream', 'nobody listens: use chat');
  if (chat.on_disconnect === 'cancel')
    throw new MalformedRequestError('on_disconnect', 'nobody stays: it always continues');
  return { ...chat, on_disconnect: 'continue' };
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

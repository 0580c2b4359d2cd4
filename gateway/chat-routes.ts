import type { FastifyInstance } from 'fastify';
import { CodedError } from '../protocol/errors.ts';
import { chatShape, textShape, type CompletionHead, type CompletionShape } from './completion.ts';
import type { GatewayDependencies } from './context.ts';
import type { InferenceRequest } from './inference-request.ts';
import { hungUp, openCall } from './open-call.ts';
import { parseChatRequest } from './openai.ts';
import { streamed } from './stream.ts';
import { parseTextRequest } from './text-completions.ts';

/** `POST /v1/chat/completions` and `POST /v1/completions`, whole or as server-sent events. */
export function chatRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  inferenceRoute(app, dependencies, '/v1/chat/completions', parseChatRequest, chatShape);
  inferenceRoute(app, dependencies, '/v1/completions', parseTextRequest, textShape);
}

function inferenceRoute(
  app: FastifyInstance,
  dependencies: GatewayDependencies,
  path: string,
  parse: (body: unknown) => InferenceRequest,
  shape: CompletionShape,
): void {
  app.post(path, async (request, reply) => {
    const gone = hungUp(reply);
    const call = { route: path, request, reply, parse, gone };
    const { chat, requestId, events } = await openCall(dependencies, call);
    const head: CompletionHead = {
      id: requestId,
      created: Math.floor(Date.now() / 1_000),
      model: chat.model,
    };
    if (chat.stream) return streamed(reply, shape, head, chat, events, dependencies);
    for await (const event of events)
      if (event.kind === 'result') return shape.whole(head, event.result);
    throw new CodedError('coordinator.internal');
  });
}

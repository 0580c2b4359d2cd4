import type { FastifyInstance } from 'fastify';
import { CodedError } from '../protocol/errors.ts';
import type { CompletionHead } from './completion.ts';
import type { GatewayDependencies } from './context.ts';
import type { InferenceRequest } from './inference-request.ts';
import { hungUp, openCall } from './open-call.ts';
import { parseChatRequest } from './openai.ts';
import { chatFormat, textFormat, type StreamFormat } from './stream-format.ts';
import { streamed } from './stream.ts';
import { parseTextRequest } from './text-completions.ts';

/** `POST /v1/chat/completions` and `POST /v1/completions`, whole or as server-sent events. */
export function chatRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  inferenceRoute(app, dependencies, {
    route: '/v1/chat/completions',
    parse: parseChatRequest,
    format: chatFormat,
  });
  inferenceRoute(app, dependencies, {
    route: '/v1/completions',
    parse: parseTextRequest,
    format: textFormat,
  });
}

interface InferenceRoute {
  readonly route: string;
  readonly parse: (body: unknown) => InferenceRequest;
  readonly format: StreamFormat;
}

function inferenceRoute(
  app: FastifyInstance,
  dependencies: GatewayDependencies,
  { route, parse, format }: InferenceRoute,
): void {
  app.post(route, async (request, reply) => {
    const call = { route, request, reply, parse, gone: hungUp(reply) };
    const { chat, requestId, acceptedAtMs, events } = await openCall(dependencies, call);
    const head: CompletionHead = {
      id: requestId,
      created: Math.floor(acceptedAtMs / 1_000),
      model: chat.model,
    };
    if (chat.stream) {
      const options = chat.stream_options;
      const reading = {
        head,
        format,
        after: -1,
        includeUsage: options?.include_usage === true,
        untilEnd: options?.include_verification === true,
      };
      return streamed(reply, reading, events, dependencies);
    }
    for await (const event of events)
      if (event.kind === 'result') {
        dependencies.metrics.delivered(event.result.usage);
        return format.whole(head, event.result);
      }
    throw new CodedError('coordinator.internal');
  });
}

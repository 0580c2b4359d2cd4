import type { FastifyInstance } from 'fastify';
import { CodedError } from '../protocol/errors.ts';
import { completion, type CompletionHead } from './completion.ts';
import type { GatewayDependencies } from './context.ts';
import { hungUp, openCall } from './open-call.ts';
import { parseChatRequest } from './openai.ts';
import { chatFormat } from './stream-format.ts';
import { streamed } from './stream.ts';

const PATH = '/v1/chat/completions';

/** `POST /v1/chat/completions`, whole or as a stream of server-sent events. */
export function chatRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  app.post(PATH, async (request, reply) => {
    const { chat, requestId, acceptedAtMs, events } = await openCall(dependencies, {
      route: PATH,
      request,
      reply,
      parse: parseChatRequest,
      gone: hungUp(reply),
    });
    const head: CompletionHead = {
      id: requestId,
      created: Math.floor(acceptedAtMs / 1_000),
      model: chat.model,
    };
    if (chat.stream) {
      const options = chat.stream_options;
      const reading = {
        head,
        format: chatFormat,
        after: -1,
        includeUsage: options?.include_usage === true,
        untilEnd: options?.include_verification === true,
      };
      return streamed(reply, reading, events, dependencies);
    }
    for await (const event of events)
      if (event.kind === 'result') return completion(head, event.result);
    throw new CodedError('coordinator.internal');
  });
}

import type { FastifyInstance } from 'fastify';
import { CodedError } from '../protocol/errors.ts';
import { serveChat, type ChatEvent } from './chat.ts';
import { completion, type CompletionHead } from './completion.ts';
import { authenticate, type GatewayDependencies } from './context.ts';
import { parseChatRequest } from './openai.ts';
import { chatFormat } from './stream-format.ts';
import { streamed } from './stream.ts';

/** `POST /v1/chat/completions`, whole or as a stream of server-sent events. */
export function chatRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  app.post('/v1/chat/completions', async (request, reply) => {
    const accountId = await authenticate(dependencies.database, request);
    const chat = parseChatRequest(request.body);
    const gone = new AbortController();
    reply.raw.on('close', () => gone.abort());
    const events = serveChat(dependencies, accountId, chat, gone.signal);
    // Refusals come before anything is sent, so they still get their status.
    const accepted = await nextEvent(events, 'accepted');
    const head: CompletionHead = {
      id: accepted.requestId,
      created: Math.floor(Date.now() / 1_000),
      model: chat.model,
    };
    reply.header('x-request-id', head.id);
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

/** @throws CodedError `coordinator.internal` if something else comes, or nothing more. */
export async function nextEvent<Kind extends ChatEvent['kind']>(
  events: AsyncGenerator<ChatEvent>,
  kind: Kind,
): Promise<Extract<ChatEvent, { kind: Kind }>> {
  const next = await events.next();
  if (next.done || next.value.kind !== kind) throw new CodedError('coordinator.internal');
  return next.value as Extract<ChatEvent, { kind: Kind }>;
}

import type { FastifyReply } from 'fastify';
import { readRequest } from '../prisma/requests.ts';
import { readVerification } from '../prisma/verifications.ts';
import { CodedError } from '../protocol/errors.ts';
import type { InferenceResult } from '../protocol/result.ts';
import type { ChatEvent } from './chat.ts';
import { chunk, usageChunk, verificationChunk, type CompletionHead } from './completion.ts';
import { codedError, type GatewayDependencies } from './context.ts';
import { errorResponse } from './errors.ts';
import type { ChatRequest } from './openai.ts';
import { verificationView } from './verification-view.ts';

/** Load balancers close what is silent; most wait a minute. */
const PING_MS = 15_000;

/** Sends events as they come. A failure after the first byte is an event too, then the end. */
export async function streamed(
  reply: FastifyReply,
  head: CompletionHead,
  chat: ChatRequest,
  events: AsyncGenerator<ChatEvent>,
  dependencies: GatewayDependencies,
): Promise<FastifyReply> {
  reply.hijack();
  const { raw } = reply;
  raw.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    'x-accel-buffering': 'no',
    // Which request it is, and the limits of the key.
    ...reply.getHeaders(),
  });
  const send = (data: unknown) => void raw.write(`data: ${JSON.stringify(data)}\n\n`);
  const ping = setInterval(() => void raw.write(': ping\n\n'), PING_MS);
  raw.write(': accepted\n\n');
  try {
    send(chunk(head, { role: 'assistant', content: '' }));
    for await (const event of events) {
      if (event.kind === 'delta') send(chunk(head, { content: event.text }));
      if (event.kind === 'result') finish(send, head, chat, event.result);
      if (event.kind === 'ended') send(verificationChunk(head, await endOf(dependencies, head.id)));
    }
  } catch (error) {
    if (!raw.destroyed) {
      const coded = codedError(error);
      dependencies.log.warn(
        { request: head.id, code: coded.code },
        'gateway // stream ended with an error',
      );
      send(errorResponse(coded, head.id).body);
    }
  } finally {
    clearInterval(ping);
    raw.end('data: [DONE]\n\n');
  }
  return reply;
}

function finish(
  send: (data: unknown) => void,
  head: CompletionHead,
  chat: ChatRequest,
  result: InferenceResult,
): void {
  send(chunk(head, {}, result.choices[0]?.finishReason ?? null));
  if (chat.stream_options?.include_usage) send(usageChunk(head, result));
}

/** What became of a request after its answer. */
async function endOf({ database }: GatewayDependencies, id: string) {
  const [record, verification] = await Promise.all([
    readRequest(database, id),
    readVerification(database, id),
  ]);
  if (!record) throw new CodedError('gateway.request_not_found');
  return {
    state: record.status,
    verification: verificationView(record, verification),
    charged_wei: record.chargedWei,
  };
}

import type { FastifyReply } from 'fastify';
import { readRequest } from '../prisma/requests.ts';
import { readVerification } from '../prisma/verifications.ts';
import { CodedError } from '../protocol/errors.ts';
import type { InferenceResult } from '../protocol/result.ts';
import type { ChatEvent } from './chat.ts';
import type { CompletionHead, CompletionShape } from './completion.ts';
import { codedError, type GatewayDependencies } from './context.ts';
import { errorResponse } from './errors.ts';
import type { InferenceRequest } from './inference-request.ts';
import { verificationView } from './verification-view.ts';

/** Load balancers close what is silent; most wait a minute. */
const PING_MS = 15_000;

/** Sends events as they come, each in the shape of the API that was called. A failure after the first byte is an event too, then the end. */
export async function streamed(
  reply: FastifyReply,
  shape: CompletionShape,
  head: CompletionHead,
  chat: InferenceRequest,
  events: AsyncGenerator<ChatEvent>,
  dependencies: GatewayDependencies,
): Promise<FastifyReply> {
  reply.hijack();
  const { raw } = reply;
  raw.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    'x-accel-buffering': 'no',
    'x-request-id': head.id,
    'x-trace-id': String(reply.getHeader('x-trace-id')),
  });
  const send = (data: unknown) => void raw.write(`data: ${JSON.stringify(data)}\n\n`);
  const ping = setInterval(() => void raw.write(': ping\n\n'), PING_MS);
  raw.write(': accepted\n\n');
  try {
    const begin = shape.begin(head);
    if (begin) send(begin);
    for await (const event of events) {
      if (event.kind === 'delta') send(shape.text(head, 0, event.text));
      if (event.kind === 'result') finish(send, shape, head, chat, event.result);
      if (event.kind === 'ended') send(shape.last(head, await endOf(dependencies, head.id)));
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
  shape: CompletionShape,
  head: CompletionHead,
  chat: InferenceRequest,
  result: InferenceResult,
): void {
  for (const [index, choice] of result.choices.entries()) {
    // Of the first one all text was sent, as it came or as a whole.
    if (index > 0 && choice.text) send(shape.text(head, index, choice.text));
    send(shape.finish(head, index, choice));
  }
  if (chat.stream_options?.include_usage) send(shape.usage(head, result));
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

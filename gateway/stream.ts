import type { OutgoingHttpHeaders } from 'node:http';
import type { FastifyReply } from 'fastify';
import type { InferenceResult } from '../protocol/result.ts';
import type { ChatEvent } from './chat.ts';
import { usageOf, type CompletionHead } from './completion.ts';
import { codedError, type GatewayDependencies } from './context.ts';
import { errorResponse, MalformedRequestError } from './errors.ts';
import { finalView } from './final-view.ts';
import { piecesOf, Sequence } from './sequence.ts';
import { EventStream, ReaderGoneError } from './sse.ts';
import { chunkOf, usageChunk, type StreamFormat } from './stream-format.ts';

/** How one reader gets a stream. */
export interface StreamReading {
  readonly head: CompletionHead;
  readonly format: StreamFormat;
  /** The last number that it has; -1 for none. */
  readonly after: number;
  readonly includeUsage: boolean;
  /** Whether the final event comes once the request has ended, instead of with its answer. */
  readonly untilEnd: boolean;
}

/**
 * Sends events as they come, numbered, no faster than they are read. A failure after the first byte
 * is an event too, and then the stream ends without `[DONE]`.
 */
export async function streamed(
  reply: FastifyReply,
  reading: StreamReading,
  events: AsyncIterable<ChatEvent>,
  dependencies: GatewayDependencies,
): Promise<FastifyReply> {
  const { id } = reading.head;
  const { log, metrics, pace = {} } = dependencies;
  reply.hijack();
  const { raw } = reply;
  raw.writeHead(200, {
    // Which request it is, and the limits of the key.
    ...(reply.getHeaders() as OutgoingHttpHeaders),
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    'x-accel-buffering': 'no',
    'x-request-id': id,
  });
  const stream = new EventStream(raw, pace, () =>
    log.warn({ request: id, code: 'gateway.reader_too_slow' }, 'gateway // cut a reader off'),
  );
  try {
    await stream.comment('accepted');
    await new Telling(stream, reading, dependencies).all(metrics.stream(reply, events));
    await stream.done();
  } catch (error) {
    if (error instanceof ReaderGoneError || raw.destroyed) return reply;
    const coded = codedError(error);
    metrics.failed(coded.code);
    log.warn({ request: id, code: coded.code }, 'gateway // stream ended with an error');
    await stream.error(errorResponse(coded, id).body).catch(() => {});
  }
  return reply;
}

/** One stream on its way to its reader. */
class Telling {
  readonly #stream: EventStream;
  readonly #reading: StreamReading;
  readonly #dependencies: GatewayDependencies;
  readonly #sequence: Sequence;

  constructor(stream: EventStream, reading: StreamReading, dependencies: GatewayDependencies) {
    this.#stream = stream;
    this.#reading = reading;
    this.#dependencies = dependencies;
    this.#sequence = new Sequence(reading.after);
  }

  async all(events: AsyncIterable<ChatEvent>): Promise<void> {
    const { format, untilEnd } = this.#reading;
    await this.#mark(format.opening && [format.opening]);
    for await (const event of events) {
      if (event.kind === 'delta') await this.#text(0, event.text, event.attempt);
      if (event.kind === 'result') await this.#result(event.result, event.attempt);
      if (event.kind === 'result' && !untilEnd) await this.#final(event.result);
      if (event.kind === 'ended' && untilEnd) await this.#final();
    }
  }

  /** Answers after the first one come whole, with the result. */
  async #result(result: InferenceResult, attempt: number): Promise<void> {
    const { head, format, includeUsage, untilEnd } = this.#reading;
    for (const [index, choice] of result.choices.entries()) {
      const { text } = choice;
      if (index > 0) await this.#text(index, text, attempt);
      await this.#mark([format.end(index, choice, index > 0 && text === '')]);
    }
    // It has a number also when nobody asked for it, so that the numbers are those of all readers.
    const number = this.#sequence.mark();
    if (number !== null && includeUsage && untilEnd)
      await this.#send(usageChunk(head, format, result), number);
  }

  async #text(index: number, text: string, attempt: number): Promise<void> {
    const { head, format } = this.#reading;
    let isFirst = index > 0;
    for (const piece of piecesOf(text)) {
      const said = this.#sequence.text(piece);
      if (said) {
        const choice = format.text(index, said.text, isFirst && said.text === piece);
        await this.#send(chunkOf(head, format, [choice], { attempt }), said.number);
      }
      isFirst = false;
    }
  }

  /** A chunk without text, if there is any in this format. */
  async #mark(choices: readonly object[] | null): Promise<void> {
    const { head, format } = this.#reading;
    const number = this.#sequence.mark();
    if (number !== null && choices) await this.#send(chunkOf(head, format, choices), number);
  }

  /**
   * Apps read the first choice of each chunk, and take the last chunk's usage for that of the
   * stream, so this one has both, unless its reader has asked for chunks without a choice.
   *
   * @param result if its usage wasn't told before.
   */
  async #final(result?: InferenceResult): Promise<void> {
    const { head, format, after, includeUsage, untilEnd } = this.#reading;
    const number = this.#sequence.mark();
    if (number === null) {
      if (this.#sequence.number === after) return;
      throw new MalformedRequestError('starting_after', 'is beyond the end of the stream');
    }
    const parallelix = await this.#finalView();
    const usage = result && includeUsage ? { usage: usageOf(result) } : {};
    const choices = includeUsage || untilEnd ? [] : [format.text(0, '', false)];
    await this.#send(chunkOf(head, format, choices, { ...usage, parallelix }), number);
  }

  /** The answer is complete: that more can't be told now doesn't make it a failure. */
  async #finalView(): Promise<object> {
    const { id } = this.#reading.head;
    const { database, log } = this.#dependencies;
    try {
      return await finalView(database, id);
    } catch (error) {
      const { code, message } = codedError(error);
      log.warn({ request: id, code, error: String(error) }, 'gateway // final event not known');
      return { request_id: id, error: { code, message } };
    }
  }

  #send(chunk: object, number: number): Promise<void> {
    return this.#stream.data({ ...chunk, sequence_number: number }, number);
  }
}

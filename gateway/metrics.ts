import type { FastifyInstance, FastifyReply } from 'fastify';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { ErrorCode } from '../protocol/errors.ts';
import type { TokenUsage } from '../protocol/settle.ts';
import type { ChatEvent } from './chat.ts';

/** From a call that is refused at once to one that waits for a node. */
const CALL_SECONDS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800];
const FIRST_TOKEN_SECONDS = [0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** Of a path that is no route: what callers write must not become a label. */
const NO_ROUTE = 'none';
/** Of a caller who hung up before the answer began. */
const NO_STATUS = 'none';

/** What a gateway counts, of all callers together. */
export class GatewayMetrics {
  readonly registry = new Registry();
  readonly #begunAt = new WeakMap<object, number>();
  readonly #calls = this.#counter('calls_total', 'Calls that have ended.', [
    'route',
    'method',
    'status',
  ]);
  readonly #callSeconds = this.#histogram(
    'call_duration_seconds',
    'From the headers of a call to the end of its answer.',
    CALL_SECONDS,
  );
  readonly #firstTokenSeconds = this.#histogram(
    'time_to_first_token_seconds',
    'From the headers of a streaming call to its first text.',
    FIRST_TOKEN_SECONDS,
  );
  readonly #openCalls = this.#gauge('open_calls', 'Calls under way, streams included.');
  readonly #openStreams = this.#gauge('open_streams', 'Streams that are being sent.');
  readonly #errors = this.#counter('errors_total', 'Refusals, and failures of requests.', ['code']);
  readonly #tokens = this.#counter('tokens_total', 'Tokens of results that were sent.', ['kind']);
  readonly #replays = this.#counter(
    'idempotent_replays_total',
    'Calls that joined an earlier one by their Idempotency-Key.',
  );
  readonly #hangUps = this.#counter(
    'hangups_cancelled_total',
    'Requests that were cancelled since their callers had hung up.',
  );

  /** Watches all calls, also those that are refused at once: it has to be the first hook. */
  watch(app: FastifyInstance): void {
    app.addHook('onRequest', async ({ raw, method, routeOptions }, reply) => {
      const begunAt = performance.now();
      this.#begunAt.set(raw, begunAt);
      this.#openCalls.inc();
      reply.raw.once('close', () => {
        const { headersSent, statusCode } = reply.raw;
        const route = routeOptions.url ?? NO_ROUTE;
        this.#openCalls.dec();
        this.#calls.inc({ route, method, status: headersSent ? String(statusCode) : NO_STATUS });
        this.#callSeconds.observe({ route }, secondsSince(begunAt));
      });
    });
  }

  /** A refusal, or a failure that was told, whether as an answer or within a stream. */
  failed(code: ErrorCode): void {
    this.#errors.inc({ code });
  }

  /** A result is sent. */
  delivered({ promptTokens, completionTokens }: TokenUsage): void {
    this.#tokens.inc({ kind: 'prompt' }, promptTokens);
    this.#tokens.inc({ kind: 'completion' }, completionTokens);
  }

  replayed(): void {
    this.#replays.inc();
  }

  hangUpCancelled(): void {
    this.#hangUps.inc();
  }

  /** Counts a stream while its events are taken. */
  async *stream({ request }: FastifyReply, events: AsyncIterable<ChatEvent>) {
    const route = request.routeOptions.url ?? NO_ROUTE;
    const begunAt = this.#begunAt.get(request.raw) ?? performance.now();
    let isFirst = true;
    this.#openStreams.inc();
    try {
      for await (const event of events) {
        const hasText = event.kind === 'delta' || event.kind === 'result';
        if (hasText && isFirst) this.#firstTokenSeconds.observe({ route }, secondsSince(begunAt));
        isFirst &&= !hasText;
        if (event.kind === 'result') this.delivered(event.result.usage);
        yield event;
      }
    } finally {
      this.#openStreams.dec();
    }
  }

  #counter<Label extends string = never>(
    name: string,
    help: string,
    labelNames: readonly Label[] = [],
  ): Counter<Label> {
    return new Counter({ name: nameOf(name), help, labelNames, registers: [this.registry] });
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name: nameOf(name), help, registers: [this.registry] });
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram<'route'> {
    const labelNames = ['route'] as const;
    return new Histogram({
      name: nameOf(name),
      help,
      buckets,
      labelNames,
      registers: [this.registry],
    });
  }
}

function nameOf(name: string): string {
  return `plx_gateway_${name}`;
}

function secondsSince(startedAt: number): number {
  return (performance.now() - startedAt) / 1_000;
}

import type { GenerateRequest } from '../../nodes/backends/backend.ts';
import { type Exchange, type Serve } from './openai-server.ts';

/** A way of a server to be wrong; the answer's text is `one two three`. */
export interface Fault {
  readonly name: string;
  readonly error: 'failed' | 'invalid' | 'context';
  readonly message: RegExp;
  readonly request?: Partial<GenerateRequest>;
  readonly serve: Serve;
}

/** An answer of three tokens, up to its finish reason. */
export function sendAnswer(exchange: Exchange, finishReason: string | null = 'stop'): void {
  exchange.start();
  for (const content of ['one ', 'two ', 'three']) exchange.delta({ content });
  if (finishReason !== null) exchange.delta({}, finishReason);
}

/** Does something once the answer was sent, and completes the stream as usual. */
export const after =
  (extra: (exchange: Exchange) => void): Serve =>
  (exchange) => {
    sendAnswer(exchange);
    extra(exchange);
    exchange.usage(3, 3);
    exchange.done();
  };

/** What a server might say back; it must not get into an error. */
export const ECHO = 'the prompt-secret one two three was refused';

export const endsWithoutFinishReason: Serve = (exchange) => {
  sendAnswer(exchange, null);
  exchange.usage(3, 3);
  exchange.done();
};

/** Streams that must not become an answer. */
export const STREAM_FAULTS: readonly Fault[] = [
  {
    name: 'ends without a finish_reason',
    error: 'failed',
    message: /without a finish_reason/,
    serve: endsWithoutFinishReason,
  },
  {
    name: 'sends no usage',
    error: 'failed',
    message: /no usage.*stream_options/,
    serve: (exchange) => {
      sendAnswer(exchange);
      exchange.done();
    },
  },
  {
    name: 'loses the connection',
    error: 'failed',
    message: /connection to http\S+ failed/,
    serve: (exchange) => {
      sendAnswer(exchange, null);
      exchange.response.destroy();
    },
  },
  {
    name: 'stops in the middle of an event',
    error: 'failed',
    message: /not whole JSON/,
    serve: (exchange) => {
      sendAnswer(exchange, null);
      exchange.response.end('data: {"choices":[{"delta":{"content":"secr');
    },
  },
  {
    name: 'reports an error in the stream',
    error: 'failed',
    message: /HTTP 500 InternalServerError/,
    serve: (exchange) => {
      sendAnswer(exchange, null);
      exchange.event({ error: { message: ECHO, type: 'InternalServerError', code: 500 } });
      exchange.done();
    },
  },
  {
    name: 'reports a full context in the stream',
    error: 'context',
    message: /The prompt has 9 tokens/,
    serve: (exchange) => {
      const message = "This model's maximum context length is 8. You have 9 input tokens";
      exchange.start();
      exchange.event({ error: { message, type: 'BadRequestError', code: 400 } });
      exchange.done();
    },
  },
  {
    name: 'stalls',
    error: 'failed',
    message: /sent nothing for 0.3 s/,
    serve: (exchange) => sendAnswer(exchange, null),
  },
  {
    name: 'never answers',
    error: 'failed',
    message: /sent nothing for 0.3 s/,
    serve: () => {},
  },
  {
    name: 'ends for another reason',
    error: 'failed',
    message: /another reason than stop or length \(content_filter\)/,
    serve: (exchange) => {
      sendAnswer(exchange, 'content_filter');
      exchange.usage(3, 3);
      exchange.done();
    },
  },
  {
    name: 'calls a tool that nobody offered',
    error: 'failed',
    message: /wrong at: choices\.0\.delta\.tool_calls/,
    serve: after((exchange) => exchange.delta({ tool_calls: [{ function: { name: 'secret' } }] })),
  },
  {
    name: 'answers more than once',
    error: 'failed',
    message: /wrong at: choices/,
    serve: after((exchange) =>
      exchange.event({ choices: [{ index: 1, delta: { content: 'secret' } }] }),
    ),
  },
  {
    name: 'says more after the end',
    error: 'failed',
    message: /after its finish_reason/,
    serve: after((exchange) => exchange.delta({ content: 'secret' })),
  },
  {
    name: 'claims a length that was not reached',
    error: 'failed',
    message: /after 3 of 16 tokens/,
    serve: (exchange) => {
      sendAnswer(exchange, 'length');
      exchange.usage(3, 3);
      exchange.done();
    },
  },
  {
    name: 'makes more tokens than it was asked for',
    error: 'failed',
    message: /made 17 tokens where 16 were asked/,
    serve: (exchange) => {
      sendAnswer(exchange);
      exchange.usage(3, 17);
      exchange.done();
    },
  },
  {
    name: 'counts in fractions',
    error: 'failed',
    message: /wrong at: usage\.completion_tokens/,
    serve: (exchange) => {
      sendAnswer(exchange);
      exchange.usage(3, 2.5);
      exchange.done();
    },
  },
  {
    name: 'cuts the prompt to fit',
    error: 'context',
    message: /The prompt has 1020 tokens/,
    serve: (exchange) => {
      sendAnswer(exchange);
      exchange.usage(1_020, 3);
      exchange.done();
    },
  },
  {
    name: 'ignores stop strings',
    error: 'failed',
    message: /went on after a stop string/,
    request: { stop: ['two'] },
    serve: after(() => {}),
  },
  {
    name: 'sends an endless line',
    error: 'failed',
    message: /line without end/,
    serve: async (exchange) => {
      exchange.start();
      exchange.raw('data: ');
      await flood(exchange, 'secret'.repeat(10_000));
    },
  },
  {
    name: 'never comes to an end',
    error: 'failed',
    message: /ignores `max_tokens`/,
    serve: async (exchange) => {
      exchange.start();
      const choices = [{ index: 0, delta: { content: 'secret'.repeat(1_000) } }];
      await flood(exchange, `data: ${JSON.stringify({ choices })}\n\n`);
    },
  },
  {
    name: 'sends bytes that are no text',
    error: 'failed',
    message: /isn't UTF-8/,
    serve: after((exchange) => exchange.raw(Uint8Array.of(0x64, 0xff, 0xfe, 0x0a))),
  },
];

/** Sends the same for ever, as fast as it is taken. */
async function flood(exchange: Exchange, data: string): Promise<void> {
  while (!exchange.closed.aborted) {
    exchange.raw(data);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

import type { GenerateRequest } from '../../nodes/backends/backend.ts';
import { honest, type Exchange, type Serve } from './openai-server.ts';

/** A way of a server to be wrong; the answer's text is `one two three`. */
export interface Fault {
  readonly name: string;
  readonly error: 'failed' | 'invalid' | 'context';
  readonly message: RegExp;
  readonly request?: Partial<GenerateRequest>;
  readonly serve: Serve;
}

/** A way of a server to be unusual, and the text, finish reason and tokens that come of it. */
export interface Quirk {
  readonly name: string;
  readonly answer: readonly [text: string, finishReason: string, completionTokens: number];
  readonly request?: Partial<GenerateRequest>;
  readonly serve: Serve;
}

/** An answer of three tokens, up to its finish reason. */
function answer(exchange: Exchange, finishReason: string | null = 'stop'): void {
  exchange.start();
  for (const content of ['one ', 'two ', 'three']) exchange.delta({ content });
  if (finishReason !== null) exchange.delta({}, finishReason);
}

/** Does something once the answer was sent, and completes the stream as usual. */
const after =
  (extra: (exchange: Exchange) => void): Serve =>
  (exchange) => {
    answer(exchange);
    extra(exchange);
    exchange.usage(3, 3);
    exchange.done();
  };

const refusing =
  (status: number, error: object): Serve =>
  (exchange) =>
    exchange.refuse(status, error);

/** What a server might say back; it must not get into an error. */
const echo = 'the prompt-secret one two three was refused';

export const endsWithoutFinishReason: Serve = (exchange) => {
  answer(exchange, null);
  exchange.usage(3, 3);
  exchange.done();
};

const STREAMS: readonly Fault[] = [
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
      answer(exchange);
      exchange.done();
    },
  },
  {
    name: 'loses the connection',
    error: 'failed',
    message: /connection to http\S+ failed/,
    serve: (exchange) => {
      answer(exchange, null);
      exchange.response.destroy();
    },
  },
  {
    name: 'stops in the middle of an event',
    error: 'failed',
    message: /not whole JSON/,
    serve: (exchange) => {
      answer(exchange, null);
      exchange.response.end('data: {"choices":[{"delta":{"content":"secr');
    },
  },
  {
    name: 'reports an error in the stream',
    error: 'failed',
    message: /HTTP 500 InternalServerError/,
    serve: (exchange) => {
      answer(exchange, null);
      exchange.event({ error: { message: echo, type: 'InternalServerError', code: 500 } });
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
    serve: (exchange) => answer(exchange, null),
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
      answer(exchange, 'content_filter');
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
      answer(exchange, 'length');
      exchange.usage(3, 3);
      exchange.done();
    },
  },
  {
    name: 'makes more tokens than it was asked for',
    error: 'failed',
    message: /made 17 tokens where 16 were asked/,
    serve: (exchange) => {
      answer(exchange);
      exchange.usage(3, 17);
      exchange.done();
    },
  },
  {
    name: 'counts in fractions',
    error: 'failed',
    message: /wrong at: usage\.completion_tokens/,
    serve: (exchange) => {
      answer(exchange);
      exchange.usage(3, 2.5);
      exchange.done();
    },
  },
  {
    name: 'cuts the prompt to fit',
    error: 'context',
    message: /The prompt has 1020 tokens/,
    serve: (exchange) => {
      answer(exchange);
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

const REFUSALS: readonly Fault[] = [
  {
    name: 'breaks',
    error: 'failed',
    message: /HTTP 500 internal_error\. Look at its log/,
    serve: refusing(500, { message: echo, type: 'internal_error', code: echo }),
  },
  {
    name: 'breaks without JSON',
    error: 'failed',
    message: /HTTP 502\. /,
    serve: ({ response }) => void response.writeHead(502).end('<html>secret</html>'),
  },
  {
    name: 'is busy',
    error: 'failed',
    message: /HTTP 429.*PLX_NODE_SLOTS/,
    serve: refusing(429, { message: echo }),
  },
  {
    name: 'refuses the key',
    error: 'failed',
    message: /HTTP 401.*PLX_OPENAI_API_KEY/,
    serve: refusing(401, { message: 'Incorrect API key key-0123456789' }),
  },
  {
    name: 'lost the model',
    error: 'failed',
    message: /HTTP 404 NotFoundError.*PLX_OPENAI_MODEL/,
    serve: refusing(404, { message: echo, type: 'NotFoundError' }),
  },
  {
    name: 'calls the name of the model invalid',
    error: 'failed',
    message: /HTTP 400 model_not_found/,
    serve: refusing(400, { message: echo, code: 'model_not_found' }),
  },
  {
    name: 'redirects elsewhere',
    error: 'failed',
    message: /redirects elsewhere \(HTTP 307\)/,
    serve: ({ response }) =>
      void response.writeHead(307, { location: 'http://127.0.0.1:9/v1/secret' }).end(),
  },
  {
    name: 'answers without streaming',
    error: 'failed',
    message: /content type isn't text\/event-stream/,
    serve: ({ response }) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ choices: [{ message: { content: 'secret' } }] }));
    },
  },
  {
    name: 'refuses the order of messages',
    error: 'invalid',
    message: /HTTP 400 BadRequestError.*alternate/,
    serve: refusing(400, { message: echo, type: 'BadRequestError', code: 400 }),
  },
  {
    name: 'refuses a field',
    error: 'invalid',
    message: /HTTP 422/,
    serve: refusing(422, { message: echo }),
  },
  {
    name: 'refuses a long body',
    error: 'failed',
    message: /HTTP 413.*size of request bodies/,
    serve: refusing(413, { message: echo }),
  },
  ...Object.entries({
    'OpenAI says it': { code: 'context_length_exceeded', message: 'Too long: 77 input tokens' },
    'vLLM says it': {
      object: 'error',
      type: 'BadRequestError',
      message:
        "This model's maximum context length is 1024 tokens. However, you requested 1101 tokens " +
        '(77 in the messages, 1024 in the completion). Please reduce the length.',
    },
    'a newer vLLM says it': {
      type: 'BadRequestError',
      message:
        "'max_tokens' or 'max_completion_tokens' is too large: 1000. This model's maximum context " +
        'length is 1024 tokens and your request has 77 input tokens (1000 > 1024 - 77).',
    },
    'llama.cpp says it': {
      type: 'exceed_context_size_error',
      message: 'request (77 tokens) exceeds the available context size (64 tokens)',
      n_prompt_tokens: 77,
      n_ctx: 64,
    },
    'Ollama says it': {
      type: 'invalid_request_error',
      message: 'request (77 tokens) exceeds the available context size (64 tokens)',
    },
  }).map(([name, error]): Fault => ({
    name: `has too small a context, as ${name}`,
    error: 'context',
    message: /The prompt has 77 tokens/,
    serve: refusing(400, error),
  })),
];

/** All of them; whatever a server does, a node answers with one of three errors. */
export const FAULTS: readonly Fault[] = [...STREAMS, ...REFUSALS];

export const QUIRKS: readonly Quirk[] = [
  { name: 'is like others', answer: ['prompt-secret one two three', 'stop', 4], serve: honest },
  {
    name: 'leaves out [DONE]',
    answer: ['one two three', 'stop', 3],
    serve: (exchange) => {
      answer(exchange);
      exchange.usage(3, 3);
      exchange.response.end();
    },
  },
  {
    name: 'keeps the connection open after [DONE]',
    answer: ['one two three', 'stop', 3],
    serve: (exchange) => {
      answer(exchange);
      exchange.usage(3, 3);
      exchange.raw('data: [DONE]\n\n');
    },
  },
  {
    name: 'sends comments, event names, other line ends and chunks without content',
    answer: ['one two three', 'stop', 3],
    serve: after((exchange) => {
      exchange.raw(': keep-alive\r\n\r\nevent: message\r\nid: 7\r\ndata:{"choices":[]}\r\n\r\n');
      exchange.raw('\r\r');
      exchange.delta({ role: 'assistant', content: null });
      exchange.event({ id: 'x', object: 'chat.completion.chunk' });
    }),
  },
  {
    name: 'sends each byte by itself',
    answer: ['naïve 😀', 'stop', 3],
    serve: async (exchange) => {
      exchange.start();
      const choices = [{ index: 0, delta: { content: 'naïve 😀' } }];
      const bytes = new TextEncoder().encode(`data: ${JSON.stringify({ choices })}\n\n`);
      for (const byte of bytes) {
        exchange.raw(Uint8Array.of(byte));
        // Each write goes out before the next.
        await new Promise((resolve) => setImmediate(resolve));
      }
      exchange.delta({}, 'stop');
      exchange.usage(3, 3);
      exchange.done();
    },
  },
  {
    name: 'divides a surrogate pair, and sends halves without their others',
    answer: ['a😀b\uFFFDc', 'stop', 4],
    serve: (exchange) => {
      exchange.start();
      for (const content of ['a\ud83d', '\ude00b', '\ude00', 'c\ud83d'])
        exchange.delta({ content });
      exchange.delta({}, 'stop');
      exchange.usage(3, 4);
      exchange.done();
    },
  },
  {
    name: 'reasons apart from the answer',
    answer: ['three', 'stop', 3],
    serve: (exchange) => {
      exchange.start();
      exchange.delta({ reasoning_content: 'one ' });
      exchange.delta({ reasoning: 'two ', content: null });
      exchange.delta({ content: 'three' }, 'stop');
      exchange.usage(3, 3);
      exchange.done();
    },
  },
  {
    name: 'counts in every chunk',
    answer: ['one two three', 'length', 16],
    serve: (exchange) => {
      exchange.start();
      for (const [index, content] of ['one ', 'two ', 'three'].entries())
        exchange.event({
          choices: [{ index: 0, delta: { content }, finish_reason: index === 2 ? 'length' : null }],
          usage: { prompt_tokens: 3, completion_tokens: index === 2 ? 16 : index },
        });
      exchange.done();
    },
  },
  {
    name: 'leaves the stop string in the text',
    answer: ['one ', 'stop', 3],
    request: { stop: ['two three'] },
    serve: after(() => {}),
  },
  {
    name: 'sends the whole answer at once',
    answer: ['one two three', 'stop', 3],
    serve: (exchange) => {
      exchange.start();
      exchange.delta({ content: 'one two three' }, 'stop');
      exchange.usage(3, 3);
      exchange.done();
    },
  },
];

/** Sends the same for ever, as fast as it is taken. */
async function flood(exchange: Exchange, data: string): Promise<void> {
  while (!exchange.closed.aborted) {
    exchange.raw(data);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

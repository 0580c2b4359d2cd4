import { ECHO, type Fault } from './openai-faults.ts';
import { type Serve } from './openai-server.ts';

const refusing =
  (status: number, error: object): Serve =>
  (exchange) =>
    exchange.refuse(status, error);

/** Answers that aren't a stream. */
export const REFUSALS: readonly Fault[] = [
  {
    name: 'breaks',
    error: 'failed',
    message: /HTTP 500 internal_error\. Look at its log/,
    serve: refusing(500, { message: ECHO, type: 'internal_error', code: ECHO }),
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
    serve: refusing(429, { message: ECHO }),
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
    serve: refusing(404, { message: ECHO, type: 'NotFoundError' }),
  },
  {
    name: 'calls the name of the model invalid',
    error: 'failed',
    message: /HTTP 400 model_not_found/,
    serve: refusing(400, { message: ECHO, code: 'model_not_found' }),
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
    serve: refusing(400, { message: ECHO, type: 'BadRequestError', code: 400 }),
  },
  {
    name: 'refuses a field',
    error: 'invalid',
    message: /HTTP 422/,
    serve: refusing(422, { message: ECHO }),
  },
  {
    name: 'refuses a long body',
    error: 'failed',
    message: /HTTP 413.*size of request bodies/,
    serve: refusing(413, { message: ECHO }),
  },
  {
    name: 'has too small a context, and says it without an object',
    error: 'context',
    message: /The prompt has 1 tokens/,
    serve: ({ response }) => {
      response.writeHead(400, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ error: 'prompt too long; exceeded max context length' }));
    },
  },
  {
    name: 'has too small a context, as an older vLLM says it',
    error: 'context',
    message: /The prompt has 77 tokens/,
    serve: ({ response }) => {
      const message = "This model's maximum context length is 64 tokens (77 in the messages).";
      response.writeHead(400, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ object: 'error', type: 'BadRequestError', message }));
    },
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
        "'max_tokens' or 'max_completion_tokens' is too large: 1000. This model's maximum " +
        'context length is 1024 tokens and your request has 77 input tokens (1000 > 1024 - 77).',
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

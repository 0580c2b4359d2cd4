import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import {
  ContextExceededError,
  type Backend,
  type GenerateRequest,
  type Generation,
} from '../../nodes/backends/backend.ts';
import type { TokenLogprob } from '../../protocol/result.ts';

/** What clients send to `/v1/chat/completions`, or, with a prompt, to `/v1/completions`. */
export interface ChatBody {
  readonly model: string;
  readonly messages?: GenerateRequest['messages'];
  readonly prompt?: string;
  readonly logprobs?: boolean | number;
  readonly top_logprobs?: number;
  readonly max_tokens: number;
  readonly temperature: number;
  readonly top_p: number;
  readonly seed: number;
  readonly stop?: readonly string[];
  readonly stream: boolean;
  readonly stream_options: { readonly include_usage: boolean };
}

/** One request, and the ways to answer it. */
export class Exchange {
  readonly body: ChatBody;
  readonly response: ServerResponse;
  /** How the generation ended; undefined while it runs. */
  finishReason: Generation['finishReason'] | undefined;
  readonly #backend: Backend;
  readonly #closed = new AbortController();

  constructor(body: ChatBody, response: ServerResponse, backend: Backend) {
    this.body = body;
    this.response = response;
    this.#backend = backend;
    response.on('close', () => this.#closed.abort());
  }

  /** Aborts when the client has closed the connection, or was answered. */
  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  /** Really generates; the stop strings can be left out to ignore them. */
  async generate(
    onText: (delta: string) => void,
    stop = this.body.stop ?? [],
  ): Promise<Generation> {
    const { body } = this;
    const request = {
      messages: body.messages ?? [],
      prompt: body.prompt,
      logprobs: typeof body.logprobs === 'number' ? body.logprobs : body.top_logprobs,
      maxTokens: body.max_tokens,
      temperature: body.temperature,
      topP: body.top_p,
      seed: body.seed,
      stop,
    };
    const answer = await this.#backend.generate(request, onText, this.closed);
    this.finishReason = answer.finishReason;
    return answer;
  }

  start(): void {
    this.response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  }

  raw(data: string | Uint8Array): void {
    this.response.write(data);
  }

  event(value: object): void {
    this.raw(`data: ${JSON.stringify(value)}\n\n`);
  }

  delta(delta: object, finish_reason: string | null = null): void {
    const id = 'chatcmpl-1';
    const object = 'chat.completion.chunk';
    this.event({ id, object, choices: [{ index: 0, delta, finish_reason }], usage: null });
  }

  /** As `delta`, of a completion. */
  text(text: string, finish_reason: string | null = null): void {
    const choices = [{ index: 0, text, logprobs: null, finish_reason }];
    this.event({ id: 'cmpl-1', object: 'text_completion', choices, usage: null });
  }

  /** All log probabilities at once, in the shape of either API. */
  logprobs(told: readonly TokenLogprob[]): void {
    const isChat = this.body.prompt === undefined;
    const top = told.map((each) => Object.fromEntries(each.top.map((o) => [o.token, o.logprob])));
    const logprobs = isChat
      ? { content: told.map(({ top: top_logprobs, ...each }) => ({ ...each, top_logprobs })) }
      : {
          tokens: told.map(({ token }) => token),
          token_logprobs: told.map(({ logprob }) => logprob),
          top_logprobs: top,
        };
    const choice = isChat ? { index: 0, delta: {}, logprobs } : { index: 0, text: '', logprobs };
    this.event({ choices: [choice], usage: null });
  }

  usage(prompt_tokens: number, completion_tokens: number): void {
    const total_tokens = prompt_tokens + completion_tokens;
    this.event({ choices: [], usage: { prompt_tokens, completion_tokens, total_tokens } });
  }

  done(): void {
    this.response.end('data: [DONE]\n\n');
  }

  refuse(status: number, error: object): void {
    this.response.writeHead(status, { 'content-type': 'application/json' });
    this.response.end(JSON.stringify({ error }));
  }
}

export type Serve = (exchange: Exchange) => Promise<void> | void;

/** Answers as vLLM does. */
export const honest: Serve = async (exchange) => {
  const isChat = exchange.body.prompt === undefined;
  let started = false;
  const start = () => {
    if (started) return;
    started = true;
    exchange.start();
    if (isChat) exchange.delta({ role: 'assistant', content: '' });
  };
  const answer = await exchange.generate((content) => {
    start();
    if (isChat) exchange.delta({ content });
    else exchange.text(content);
  });
  start();
  if (answer.logprobs) exchange.logprobs(answer.logprobs);
  if (isChat) exchange.delta({}, answer.finishReason);
  else exchange.text('', answer.finishReason);
  exchange.usage(answer.promptTokens, answer.completionTokens);
  exchange.done();
};

export interface OpenAiServer {
  /** The base URL, with `/v1`. */
  readonly url: string;
  readonly exchanges: readonly Exchange[];
  /** Of each request. */
  readonly headers: readonly IncomingMessage['headers'][];
  /** How chats are answered from now on. */
  serve: Serve;
  /** Other routes by path: status and JSON. */
  routes: Record<string, [status: number, body: object]>;
  /** Closes all connections. */
  stop(): Promise<void>;
}

/** A small OpenAI-compatible server over a backend, on a free port unless one is given. */
export async function startOpenAiServer(backend: Backend, port = 0): Promise<OpenAiServer> {
  const { id, contextTokens } = backend.model;
  const exchanges: Exchange[] = [];
  const headers: IncomingMessage['headers'][] = [];
  const listed = { id, object: 'model', owned_by: 'vllm', max_model_len: contextTokens };
  const state = {
    serve: honest,
    routes: {
      '/v1/models': [200, { object: 'list', data: [listed] }],
      '/version': [200, { version: '0.10.1' }],
      '/health': [200, {}],
    } as OpenAiServer['routes'],
  };

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    headers.push(request.headers);
    const route = state.routes[request.url ?? ''];
    if (route) {
      response.writeHead(route[0], { 'content-type': 'application/json' });
      response.end(JSON.stringify(route[1]));
      return;
    }
    if (!/^\/v1\/(chat\/)?completions$/.test(request.url ?? '')) {
      response.writeHead(404).end();
      return;
    }
    const exchange = new Exchange((await json(request)) as ChatBody, response, backend);
    exchanges.push(exchange);
    try {
      await state.serve(exchange);
    } catch (error) {
      // As llama.cpp says it.
      if (error instanceof ContextExceededError)
        exchange.refuse(400, {
          code: 400,
          type: 'exceed_context_size_error',
          message: 'the request exceeds the available context size',
          n_prompt_tokens: error.promptTokens,
          n_ctx: error.contextTokens,
        });
      else response.destroy();
    }
  }

  const server = createServer((request, response) => void handle(request, response));
  await new Promise<void>((resolve) => void server.listen(port, '127.0.0.1', resolve));
  const { port: actual } = server.address() as AddressInfo;
  return Object.assign(state, {
    url: `http://127.0.0.1:${actual}/v1`,
    exchanges,
    headers,
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  });
}

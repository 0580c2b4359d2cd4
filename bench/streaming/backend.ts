import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { json } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { readConfig } from '../../workers/config.ts';
import { runRole, type RunningRole } from '../../workers/role.ts';
import { INSTANT_MODEL } from '../instant-backend.ts';
import { HELD_PROMPT } from './held-prompt.ts';

const backendEnv = z.object({
  BENCH_PORT: z.coerce.number(),
  /** From a request to its first token. */
  BENCH_FIRST_TOKEN_MS: z.coerce.number(),
  /** From each token to the next. */
  BENCH_TOKEN_MS: z.coerce.number(),
});

/** Nodes give up a server that says nothing for two minutes. */
const COMMENT_MS = 30_000;
/** As long as an English word with its blank. */
const TOKEN = 'token ';

interface ChatBody {
  readonly messages: readonly { readonly content: string }[];
  readonly max_tokens: number;
}

/** One answer under way, in the form that vLLM gives it. */
class Answer {
  readonly #response: ServerResponse;
  readonly #promptTokens: number;
  #tokens = 0;

  constructor(response: ServerResponse, promptTokens: number) {
    this.#response = response;
    this.#promptTokens = promptTokens;
  }

  get isClosed(): boolean {
    return this.#response.destroyed;
  }

  token(): void {
    if (this.#tokens === 0) {
      this.#response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
      this.#choice({ role: 'assistant', content: '' }, null);
    }
    this.#tokens += 1;
    this.#choice({ content: TOKEN }, null);
  }

  comment(): void {
    this.#response.write(': held\n\n');
  }

  end(finishReason: 'stop' | 'length'): void {
    this.#choice({}, finishReason);
    const [prompt_tokens, completion_tokens] = [this.#promptTokens, this.#tokens];
    const total_tokens = prompt_tokens + completion_tokens;
    this.#event({ choices: [], usage: { prompt_tokens, completion_tokens, total_tokens } });
    this.#response.end('data: [DONE]\n\n');
  }

  #choice(delta: object, finish_reason: string | null): void {
    this.#event({ choices: [{ index: 0, delta, finish_reason }], usage: null });
  }

  #event(fields: object): void {
    const head = { id: 'chatcmpl-1', object: 'chat.completion.chunk', model: INSTANT_MODEL.id };
    this.#response.write(`data: ${JSON.stringify({ ...head, ...fields })}\n\n`);
  }
}

/** Answers that go on when they are told to. */
class Held {
  readonly #answers = new Set<Answer>();
  #drip: NodeJS.Timeout | undefined;

  constructor() {
    setInterval(() => {
      for (const answer of this.#answers) answer.comment();
    }, COMMENT_MS).unref();
  }

  add(answer: Answer): void {
    answer.token();
    this.#answers.add(answer);
  }

  remove(answer: Answer): void {
    this.#answers.delete(answer);
  }

  /** From now on so many tokens a second in all, one answer after the other; 0 for none. */
  drip(tokensPerSecond: number): void {
    clearInterval(this.#drip);
    if (tokensPerSecond > 0) this.#drip = setInterval(() => this.#next(), 1_000 / tokensPerSecond);
  }

  endAll(): void {
    this.drip(0);
    for (const answer of this.#answers) answer.end('stop');
    this.#answers.clear();
  }

  #next(): void {
    const [first] = this.#answers;
    if (!first) return;
    // A set keeps the order in which its members came.
    this.#answers.delete(first);
    this.#answers.add(first);
    first.token();
  }
}

/** An OpenAI-compatible server at the pace of a real one, without a model. */
async function startBackend(): Promise<RunningRole> {
  const config = readConfig('bench backend', backendEnv);
  const held = new Held();

  async function chat(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { messages, max_tokens: tokens } = (await json(request)) as ChatBody;
    const answer = new Answer(response, messages.length);
    if (messages.at(-1)?.content === HELD_PROMPT) {
      held.add(answer);
      response.once('close', () => held.remove(answer));
      return;
    }
    // By the clock, so that a late timer doesn't make all later tokens late.
    const firstAt = performance.now() + config.BENCH_FIRST_TOKEN_MS;
    for (let index = 0; index < tokens && !answer.isClosed; index++) {
      await sleep(Math.max(0, firstAt + index * config.BENCH_TOKEN_MS - performance.now()));
      answer.token();
    }
    answer.end('length');
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://backend');
    if (pathname === '/v1/chat/completions') return chat(request, response);
    if (pathname === '/bench/drip') held.drip(Number(searchParams.get('tokensPerSecond')));
    else if (pathname === '/bench/end') held.endAll();
    else if (pathname !== '/v1/models') return void response.writeHead(404).end();
    const { id, contextTokens: max_model_len } = INSTANT_MODEL;
    const models = [{ id, object: 'model', owned_by: 'bench', max_model_len }];
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ object: 'list', data: models }));
  }

  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => void server.listen(config.BENCH_PORT, '127.0.0.1', resolve));
  return {
    ready: {},
    stop: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

await runRole(startBackend);

import { assertGenerateRequest, BackendFailedError, ContextExceededError } from './backend.ts';
import { UNDECLARED_HARDWARE } from '../../protocol/compare/equivalence.ts';
import type { Backend, GenerateRequest, Generation, ModelDescription } from './backend.ts';
import { OpenAiAnswer } from './openai-answer.ts';
import { probeFeatures } from './openai-features.ts';
import type { OpenAiHttp } from './openai-http.ts';
import { ServerRefusal } from './openai-refusal.ts';
import { assertHealthRoute, describeServer, findModel } from './openai-server.ts';
import type { ServedModel } from './openai-server.ts';
import { SlotPool } from './slot-pool.ts';

/** What the operator says of the model, since its server doesn't. */
export interface DeclaredModel {
  /** The name that requests ask for. */
  readonly id: string;
  readonly digest: `sha256:${string}`;
  /** The name that the server knows it by. */
  readonly serverId: string;
  /** Tokens; lowers what the server says, or stands for what it doesn't say. */
  readonly contextTokens?: number | undefined;
  /** Of what the server computes on; undefined if that doesn't decide every token. */
  readonly equivalence?: string | undefined;
}

/** What a stream may take per token, for JSON and the engine's additions, and on top. */
const BYTES_PER_TOKEN_MAX = 4096;
const OVERHEAD_BYTES_MAX = 1024 * 1024;

/** One model of a server that speaks OpenAI's API; the server may serve others to others. */
export class OpenAiBackend implements Backend {
  readonly slots: number;
  readonly #http: OpenAiHttp;
  readonly #declared: DeclaredModel;
  readonly #pool: SlotPool<number>;
  /** What can end each generation under way, and the generation. */
  readonly #active = new Map<AbortController, Promise<unknown>>();
  #served: ServedModel;
  #contextTokens: number;
  /** The server was away: what comes back may be another version, with other limits. */
  #wasAway = false;
  #features: Backend['features'] = [];

  /** Throws `BackendFailedError` when nobody says how long the context is. */
  constructor(http: OpenAiHttp, declared: DeclaredModel, served: ServedModel, slots: number) {
    this.slots = slots;
    this.#http = http;
    this.#declared = declared;
    this.#served = served;
    this.#contextTokens = contextTokensOf(declared, served);
    this.#pool = new SlotPool(Array.from({ length: slots }, (_, index) => index));
  }

  get engine(): string {
    const { equivalence = UNDECLARED_HARDWARE } = this.#declared;
    return `${this.#served.engine} ${equivalence}`;
  }

  /** None before `probe`. */
  get features(): Backend['features'] {
    return this.#features;
  }

  get model(): ModelDescription {
    const { digest, id } = this.#declared;
    const { quantisation } = this.#served;
    return { id, digest, quantisation, contextTokens: this.#contextTokens };
  }

  async generate(
    request: GenerateRequest,
    onText: (delta: string) => void,
    signal: AbortSignal,
  ): Promise<Generation> {
    assertGenerateRequest(request);
    this.#pool.assertOpen();
    this.#assertMayFit(request);
    const slot = await this.#pool.take(signal);
    if (slot === undefined) return new OpenAiAnswer(request, onText).cancelled();
    const closing = new AbortController();
    const ends = AbortSignal.any([signal, closing.signal]);
    const answer = this.#run(request, onText, signal, ends).finally(() => {
      this.#active.delete(closing);
      this.#pool.give(slot);
    });
    this.#active.set(closing, answer);
    return answer;
  }

  /** Finds out what the server can do besides chat. It takes some generations of a token or two. */
  async probe(): Promise<void> {
    const { signal } = new AbortController();
    this.#features = await probeFeatures((request) => this.generate(request, () => {}, signal));
  }

  async health(): Promise<void> {
    this.#pool.assertOpen();
    const { serverId, equivalence } = this.#declared;
    // Who vouches for every token must not miss that the server was replaced between two looks.
    const mayDiffer = this.#wasAway || equivalence !== undefined;
    const isBack = this.#wasAway;
    this.#wasAway = false;
    try {
      if (mayDiffer) this.#accept(await describeServer(this.#http, serverId));
      else await findModel(this.#http, serverId);
      await assertHealthRoute(this.#http);
      if (isBack) await this.probe();
    } catch (error) {
      this.#wasAway = true;
      this.#pool.assertOpen();
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#pool.close(closedError());
    for (const closing of this.#active.keys()) closing.abort();
    await Promise.allSettled(this.#active.values());
  }

  #accept(served: ServedModel): void {
    this.#contextTokens = contextTokensOf(this.#declared, served);
    this.#served = served;
  }

  async #run(
    request: GenerateRequest,
    onText: (delta: string) => void,
    signal: AbortSignal,
    ends: AbortSignal,
  ): Promise<Generation> {
    const listener = new Listener(onText);
    const answer = new OpenAiAnswer(request, listener.hear);
    try {
      this.#pool.assertOpen();
      ends.throwIfAborted();
      const bytesMax = OVERHEAD_BYTES_MAX + request.maxTokens * BYTES_PER_TOKEN_MAX;
      const body = this.#body(request);
      const path = request.prompt === undefined ? '/chat/completions' : '/completions';
      const events = this.#http.postForEvents(path, body, bytesMax, ends);
      for await (const event of events) answer.push(event);
      return answer.end(this.#contextTokens);
    } catch (error) {
      if (listener.failed) throw error;
      if (signal.aborted) return answer.cancelled();
      this.#pool.assertOpen();
      if (error instanceof ServerRefusal) throw error.toBackendError(request, this.#contextTokens);
      this.#wasAway = true;
      throw error;
    }
  }

  #body(request: GenerateRequest): object {
    const { maxTokens, messages, prompt, seed, stop, temperature, topP } = request;
    return {
      ...this.#served.samplingOff,
      model: this.#served.id,
      ...(prompt === undefined ? { messages } : { prompt }),
      ...logprobsFields(request),
      // Not `max_completion_tokens`: Ollama doesn't know it, and would go on without a limit.
      max_tokens: maxTokens,
      temperature,
      top_p: topP,
      seed,
      n: 1,
      ...(stop.length > 0 ? { stop } : {}),
      stream: true,
      stream_options: { include_usage: true },
    };
  }

  /** What can't fit by any count; the server counts the rest. */
  #assertMayFit({ maxTokens, messages }: GenerateRequest): void {
    const contextTokens = this.#contextTokens;
    const promptTokens = messages.length;
    if (promptTokens + maxTokens > contextTokens)
      throw new ContextExceededError({ promptTokens, maxTokens, contextTokens });
  }
}

/** llama.cpp tells nothing when it is asked for no alternative, so one is asked for at least. */
function logprobsFields({ logprobs, prompt }: GenerateRequest): object {
  if (logprobs === undefined) return {};
  const top = Math.max(1, logprobs);
  return prompt === undefined ? { logprobs: true, top_logprobs: top } : { logprobs: top };
}

/** Tells an exception of the caller's listener from one of the server. */
class Listener {
  failed = false;
  readonly hear: (delta: string) => void;

  constructor(onText: (delta: string) => void) {
    this.hear = (delta) => {
      this.failed = true;
      onText(delta);
      this.failed = false;
    };
  }
}

function contextTokensOf(declared: DeclaredModel, served: ServedModel): number {
  const said = served.contextTokens;
  const wanted = declared.contextTokens;
  if (said === null && wanted === undefined)
    throw new BackendFailedError(
      "The server doesn't say how many tokens its context has. Set PLX_CONTEXT_TOKENS to what it " +
        'was started with (Ollama: OLLAMA_CONTEXT_LENGTH).',
    );
  if (said !== null && wanted !== undefined && wanted > said)
    throw new BackendFailedError(
      `PLX_CONTEXT_TOKENS is ${wanted}, but the server's context has ${said} tokens. Lower it, ` +
        'or start the server with a larger context.',
    );
  return wanted ?? said ?? 0;
}

function closedError(): BackendFailedError {
  return new BackendFailedError('The backend was closed: this node is shutting down.');
}

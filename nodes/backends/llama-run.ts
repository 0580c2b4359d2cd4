import type { LlamaContextSequence, LlamaModel, Token } from 'node-llama-cpp';
import { BackendFailedError } from './backend.ts';
import type { GenerateRequest, Generation } from './backend.ts';
import { LogprobCollector, type Sampled } from './llama-logprobs.ts';
import { CONTEXT_TOKENS, TokenDecoder } from './llama-text.ts';
import { StopScanner } from './stop-scanner.ts';

/** One generation, ready to run. */
export interface RunInput {
  readonly model: LlamaModel;
  /** Empty, and nobody else's until `clear` has resolved. */
  readonly sequence: LlamaContextSequence;
  /** The encoded conversation, at least one token. */
  readonly prompt: readonly Token[];
  /** Prompt tokens evaluated at a time. */
  readonly chunkTokens: number;
  readonly request: GenerateRequest;
  readonly onText: (delta: string) => void;
  /** Any of them ends the generation. */
  readonly signals: readonly AbortSignal[];
}

/** llama.cpp takes this seed as "draw one by chance". */
const RANDOM_SEED = 0xffff_ffff;
const CANCELLED = Symbol('cancelled');

/**
 * Evaluates one prompt and samples one answer. An abort is answered at once although the batch
 * that the engine is computing can't be stopped: `clear` waits for that, instead of the caller.
 */
export class LlamaRun {
  readonly #input: RunInput;
  readonly #abort: AbortWatch;
  readonly #decoder: TokenDecoder<Token>;
  readonly #stops: StopScanner;
  readonly #tokenIds: Token[] = [];
  readonly #logprobs: LogprobCollector<Token> | undefined;
  /** Of the text that tokens stand for, also of what isn't shown yet. */
  #decodedLength = 0;
  #text = '';
  #tokens: AsyncGenerator<Sampled<Token>, void, void> | undefined;
  /** What the engine is computing, which outlives a cancelled generation. */
  #inFlight: Promise<unknown> = Promise.resolve();

  constructor(input: RunInput) {
    this.#input = input;
    this.#abort = watchAbort(input.signals);
    this.#stops = new StopScanner(input.request.stop);
    this.#decoder = new TokenDecoder((tokens, previous) =>
      input.model.detokenize(tokens, false, previous),
    );
    const { logprobs } = input.request;
    if (logprobs !== undefined)
      this.#logprobs = new LogprobCollector(logprobs, (token) =>
        input.model.detokenize([token], true, this.#tokenIds.slice(-CONTEXT_TOKENS)),
      );
  }

  /** Call it once. Throws `BackendFailedError`, and what `onText` throws. */
  async generate(): Promise<Generation> {
    try {
      return this.#finish(await this.#sample());
    } finally {
      this.#abort.stop();
    }
  }

  /**
   * Waits until the engine has left the sequence and empties it. Throws `BackendFailedError` when
   * something of the caller is still in it.
   */
  async clear(): Promise<void> {
    const { sequence } = this.#input;
    // How the computation ended doesn't matter any more, only that it has.
    await this.#inFlight.catch(() => undefined);
    await this.#tokens?.return();
    await sequence.clearHistory();
    if (sequence.nextTokenIndex !== 0)
      throw new BackendFailedError('llama.cpp left tokens of a request in its sequence.');
  }

  async #sample(): Promise<Generation['finishReason']> {
    const { request, sequence } = this.#input;
    const lastChunk = await this.#evaluateAllButLastChunk();
    if (lastChunk === CANCELLED) return 'cancelled';
    // The sampler is the same, whatever is asked for beside the token.
    const wanted = this.#logprobs?.wanted ?? {};
    this.#tokens = sequence.evaluateWithMetadata(lastChunk, wanted, samplingOptions(request));
    for (;;) {
      const step = await this.#wait(this.#tokens.next());
      if (step === CANCELLED) return 'cancelled';
      if (step.done) throw new BackendFailedError('llama.cpp ended without an end token.');
      if (this.#accept(step.value)) return 'stop';
      if (this.#tokenIds.length === request.maxTokens) return 'length';
    }
  }

  async #evaluateAllButLastChunk(): Promise<Token[] | typeof CANCELLED> {
    const { chunkTokens, prompt, sequence } = this.#input;
    let start = 0;
    for (; prompt.length - start > chunkTokens; start += chunkTokens) {
      const chunk = prompt.slice(start, start + chunkTokens);
      const step = await this.#wait(sequence.evaluateWithoutGeneratingNewTokens(chunk));
      if (step === CANCELLED) return CANCELLED;
    }
    return prompt.slice(start);
  }

  /** Takes one token; whether it ended the answer. */
  #accept(sampled: Sampled<Token>): boolean {
    const { token } = sampled;
    const isEnd = this.#input.model.isEogToken(token);
    if (!isEnd) this.#logprobs?.push(sampled, this.#decodedLength);
    this.#tokenIds.push(token);
    if (isEnd) return true;
    const text = this.#decoder.push(token);
    this.#decodedLength += text.length;
    this.#show(this.#stops.push(text));
    return this.#stops.stopped;
  }

  #show(delta: string): void {
    if (delta === '') return;
    this.#text += delta;
    this.#input.onText(delta);
  }

  #finish(finishReason: Generation['finishReason']): Generation {
    this.#show(this.#stops.end());
    return {
      text: this.#text,
      tokenIds: this.#tokenIds,
      promptTokens: this.#input.prompt.length,
      completionTokens: this.#tokenIds.length,
      finishReason,
      ...(this.#logprobs ? { logprobs: this.#logprobs.end(this.#text.length) } : {}),
    };
  }

  /** The engine's next step, or that it was cancelled. */
  #wait<T>(work: Promise<T>): Promise<T | typeof CANCELLED> {
    this.#inFlight = work;
    const step = work.catch((cause: unknown) => {
      throw new BackendFailedError(`llama.cpp failed while computing: ${String(cause)}.`, {
        cause,
      });
    });
    return Promise.race([this.#abort.cancelled, step]);
  }
}

interface AbortWatch {
  /** Resolves at the first abort; it comes first in races, so that it isn't outrun. */
  readonly cancelled: Promise<typeof CANCELLED>;
  /** Takes the listeners away. */
  readonly stop: () => void;
}

function watchAbort(signals: readonly AbortSignal[]): AbortWatch {
  let cancel = (): void => undefined;
  const cancelled = new Promise<typeof CANCELLED>((resolve) => {
    cancel = () => resolve(CANCELLED);
  });
  for (const signal of signals) signal.addEventListener('abort', cancel, { once: true });
  if (signals.some((signal) => signal.aborted)) cancel();
  const stop = (): void => {
    for (const signal of signals) signal.removeEventListener('abort', cancel);
  };
  return { cancelled, stop };
}

/** Samples from the whole distribution, which the library's own defaults would cut. */
function samplingOptions({ seed, temperature, topP }: GenerateRequest) {
  return {
    temperature,
    topP,
    topK: 0,
    minP: 0,
    seed: seed === RANDOM_SEED ? RANDOM_SEED - 1 : seed,
    yieldEogToken: true,
  };
}

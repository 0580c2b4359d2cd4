import { setMaxListeners } from 'node:events';
import type { Llama, LlamaContext, LlamaContextSequence, LlamaModel } from 'node-llama-cpp';
import { assertGenerateRequest, BackendFailedError } from './backend.ts';
import type { Backend, GenerateRequest, Generation, ModelDescription } from './backend.ts';
import type { PromptEncoder, TextEncoder } from './llama-prompt.ts';
import { LlamaRun } from './llama-run.ts';
import { SlotPool } from './slot-pool.ts';

/** What the backend is put together from; it owns `llama` and all within it. */
export interface LlamaParts {
  readonly llama: Llama;
  readonly model: LlamaModel;
  readonly context: LlamaContext;
  readonly encode: PromptEncoder;
  readonly encodeText: TextEncoder;
  readonly engine: string;
  /** Prompt tokens evaluated at a time. */
  readonly chunkTokens: number;
  readonly description: ModelDescription;
}

/** llama.cpp with one sequence of one shared context for each slot. */
export class LlamaBackend implements Backend {
  readonly engine: string;
  readonly model: ModelDescription;
  readonly slots: number;
  readonly features = ['completion', 'logprobs'] as const;
  readonly #parts: LlamaParts;
  readonly #pool: SlotPool<LlamaContextSequence>;
  /** Slots in use, each until its sequence is empty again. They never reject. */
  readonly #active = new Set<Promise<void>>();
  readonly #stopping = new AbortController();
  #closed: Promise<void> | undefined;

  constructor(parts: LlamaParts) {
    this.engine = parts.engine;
    this.model = parts.description;
    this.slots = parts.context.totalSequences;
    this.#parts = parts;
    const sequences = Array.from({ length: this.slots }, () => parts.context.getSequence());
    this.#pool = new SlotPool(sequences);
    // One listener for each slot is no leak.
    setMaxListeners(0, this.#stopping.signal);
  }

  async generate(
    request: GenerateRequest,
    onText: (delta: string) => void,
    signal: AbortSignal,
  ): Promise<Generation> {
    assertGenerateRequest(request);
    this.#assertOpen();
    const { maxTokens, messages } = request;
    const { contextTokens } = this.model;
    const limits = { maxTokens, contextTokens };
    const prompt =
      request.prompt === undefined
        ? this.#parts.encode(messages, limits)
        : this.#parts.encodeText(request.prompt, limits);
    const sequence = await this.#pool.take(signal);
    if (sequence === undefined) return cancelledInQueue(prompt.length, request);
    this.#assertOpen();
    const { chunkTokens, model } = this.#parts;
    const signals = [signal, this.#stopping.signal];
    const run = new LlamaRun({ model, sequence, prompt, chunkTokens, request, onText, signals });
    const answer = run.generate();
    this.#clearAfter(answer, run, sequence);
    const generation = await answer;
    // Only the caller may cut an answer short.
    if (generation.finishReason === 'cancelled' && !signal.aborted) this.#assertOpen();
    return generation;
  }

  /** It is in this process: it serves unless it was closed, or a slot couldn't be emptied. */
  async health(): Promise<void> {
    this.#pool.assertOpen();
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** Gives the slot back once it is empty, which the caller doesn't have to wait for. */
  #clearAfter(answer: Promise<unknown>, run: LlamaRun, sequence: LlamaContextSequence): void {
    const slotUse = answer
      .catch(() => undefined)
      .then(() => run.clear())
      .then(
        () => this.#pool.give(sequence),
        (cause: unknown) => this.#pool.close(unclearedError(cause)),
      )
      .then(() => void this.#active.delete(slotUse));
    this.#active.add(slotUse);
  }

  #assertOpen(): void {
    if (this.#stopping.signal.aborted) throw closedError();
  }

  async #close(): Promise<void> {
    this.#pool.close(closedError());
    this.#stopping.abort();
    await Promise.all(this.#active);
    await this.#parts.llama.dispose();
  }
}

function cancelledInQueue(promptTokens: number, { logprobs }: GenerateRequest): Generation {
  const usage = { promptTokens, completionTokens: 0 };
  const none = logprobs === undefined ? {} : { logprobs: [] };
  return { text: '', tokenIds: [], ...usage, finishReason: 'cancelled', ...none };
}

function closedError(): BackendFailedError {
  return new BackendFailedError('The backend was closed: this node is shutting down.');
}

function unclearedError(cause: unknown): BackendFailedError {
  return new BackendFailedError(
    `A slot couldn't be emptied (${String(cause)}), so the backend takes no more requests: the ` +
      'next caller might see text of the last one. Restart the node.',
    { cause },
  );
}

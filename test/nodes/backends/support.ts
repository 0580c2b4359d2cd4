import { createLlamaBackend } from '../../../nodes/backends/llama.ts';
import type { LlamaBackendOptions } from '../../../nodes/backends/llama.ts';
import type { Backend, GenerateRequest, Generation } from '../../../nodes/backends/backend.ts';

/** SmolLM2-135M-Instruct, Q4_1. */
export const MODEL_PATH =
  process.env['MODEL_PATH'] ?? '.tools/models/SmolLM2-135M-Instruct.Q4_1.gguf';

/** SHA-256 of the file that the tests are written for. */
export const MODEL_DIGEST =
  'sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53';

/** About 170 tokens of prose: more than two chunks of a prompt. */
export const LONG_TEXT =
  'The committee met on Tuesday and talked about the harbour bridge again. '.repeat(12);

/** The model on one slot unless told otherwise; the test closes it. */
export function startBackend(options: Partial<LlamaBackendOptions> = {}): Promise<Backend> {
  const defaults = { modelPath: MODEL_PATH, modelId: 'smollm2-135m', slots: 1 };
  return createLlamaBackend({ ...defaults, contextTokens: 1024, ...options });
}

/** A greedy request of 16 tokens with one user message. */
export function ask(content: string, change: Partial<GenerateRequest> = {}): GenerateRequest {
  const sampling = { temperature: 0, topP: 1, seed: 1, stop: [] };
  return { messages: [{ role: 'user', content }], maxTokens: 16, ...sampling, ...change };
}

/** A generation and the deltas that were streamed. */
export interface Answer extends Generation {
  readonly deltas: readonly string[];
}

/** Runs a request that nobody aborts, unless `signal` is given. */
export async function run(
  backend: Backend,
  request: GenerateRequest,
  signal: AbortSignal = new AbortController().signal,
): Promise<Answer> {
  const deltas: string[] = [];
  const generation = await backend.generate(request, (delta) => deltas.push(delta), signal);
  return { ...generation, deltas };
}

/** What two equal answers have in common: token ids where there are any, otherwise the text. */
export function fingerprint({ completionTokens, finishReason, text, tokenIds }: Generation) {
  return { completionTokens, finishReason, tokens: tokenIds ?? text };
}

import type { InferenceResult } from '../protocol/result.ts';

/** What all answers to one chat request share. */
export interface CompletionHead {
  readonly id: string;
  /** Seconds since the epoch, as OpenAI has it. */
  readonly created: number;
  readonly model: string;
}

/** OpenAI's `chat.completion` object for a validated result. */
export function completion(head: CompletionHead, result: InferenceResult) {
  return {
    ...head,
    object: 'chat.completion' as const,
    system_fingerprint: result.engine,
    choices: result.choices.map(({ text, finishReason }, index) => ({
      index,
      message: { role: 'assistant' as const, content: text, refusal: null },
      logprobs: null,
      finish_reason: finishReason,
    })),
    usage: usage(result),
  };
}

/** A `chat.completion.chunk` with a piece of the text, or with the end. */
export function chunk(
  head: CompletionHead,
  delta: { role?: 'assistant'; content?: string },
  finishReason: string | null = null,
) {
  const choice = { index: 0, delta, logprobs: null, finish_reason: finishReason };
  return { ...head, object: 'chat.completion.chunk' as const, choices: [choice] };
}

/** The last chunk of a stream whose caller asked for usage. */
export function usageChunk(head: CompletionHead, result: InferenceResult) {
  return {
    ...head,
    object: 'chat.completion.chunk' as const,
    choices: [],
    usage: usage(result),
  };
}

/** The very last chunk of a stream whose caller asked how its request was checked. */
export function verificationChunk(head: CompletionHead, parallelix: object) {
  return { ...head, object: 'chat.completion.chunk' as const, choices: [], parallelix };
}

function usage({ usage }: InferenceResult) {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
  };
}

import type { InferenceResult } from '../protocol/result.ts';
import { chatLogprobs, textLogprobs } from './logprobs-view.ts';

/** What all answers to one request share. */
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
    choices: result.choices.map(({ text, finishReason, logprobs }, index) => ({
      index,
      message: { role: 'assistant' as const, content: text, refusal: null },
      logprobs: chatLogprobs(logprobs),
      finish_reason: finishReason,
    })),
    usage: usageOf(result),
  };
}

/** OpenAI's `text_completion` object for a validated result. */
export function textCompletion(head: CompletionHead, result: InferenceResult) {
  return {
    ...head,
    object: 'text_completion' as const,
    system_fingerprint: result.engine,
    choices: result.choices.map(({ text, finishReason, logprobs }, index) => ({
      index,
      text,
      logprobs: textLogprobs(logprobs),
      finish_reason: finishReason,
    })),
    usage: usageOf(result),
  };
}

/** OpenAI's usage object. */
export function usageOf({ usage }: InferenceResult) {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
  };
}

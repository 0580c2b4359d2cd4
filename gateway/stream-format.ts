import type { RequestParameters } from '../protocol/receive.ts';
import type { InferenceResult } from '../protocol/result.ts';
import { completion, textCompletion, usageOf, type CompletionHead } from './completion.ts';
import { chatLogprobs, textLogprobs } from './logprobs-view.ts';

/** How an API route words its answers, and the chunks of a stream. */
export interface StreamFormat {
  /** An answer that comes whole. */
  readonly whole: (head: CompletionHead, result: InferenceResult) => object;
  readonly object: 'chat.completion.chunk' | 'text_completion';
  /** What comes before any text; null for nothing. */
  readonly opening: object | null;
  /** @param isFirst whether nothing was said of its answer before, nor that it opens. */
  readonly text: (index: number, text: string, isFirst: boolean) => object;
  /** With the log probabilities of the whole answer, if they were asked for. */
  readonly end: (index: number, choice: Ended, isFirst: boolean) => object;
}

type Ended = Pick<InferenceResult['choices'][number], 'finishReason' | 'logprobs'>;

const chatChoice = (
  index: number,
  delta: object,
  finishReason: string | null = null,
  logprobs?: Ended['logprobs'],
) => ({
  index,
  delta,
  logprobs: chatLogprobs(logprobs),
  finish_reason: finishReason,
});

const EMPTY_MESSAGE = { role: 'assistant', content: '' };

/** `chat.completion.chunk`, as `POST /v1/chat/completions` streams it. */
export const chatFormat: StreamFormat = {
  whole: completion,
  object: 'chat.completion.chunk',
  opening: chatChoice(0, EMPTY_MESSAGE),
  text: (index, text, isFirst) =>
    chatChoice(index, { ...(isFirst ? { role: 'assistant' } : {}), content: text }),
  end: (index, { finishReason, logprobs }, isFirst) =>
    chatChoice(index, isFirst ? EMPTY_MESSAGE : {}, finishReason, logprobs),
};

/** `text_completion`, as `POST /v1/completions` streams it. */
export const textFormat: StreamFormat = {
  whole: textCompletion,
  object: 'text_completion',
  opening: null,
  text: (index, text) => ({ index, text, logprobs: null, finish_reason: null }),
  end: (index, { finishReason, logprobs }) => ({
    index,
    text: '',
    logprobs: textLogprobs(logprobs),
    finish_reason: finishReason,
  }),
};

/** The format that a request was made for. */
export function formatOf({ features }: RequestParameters): StreamFormat {
  return features?.includes('completion') ? textFormat : chatFormat;
}

/** One chunk of a stream, without its number. */
export function chunkOf(
  head: CompletionHead,
  { object }: StreamFormat,
  choices: readonly object[],
  more: object = {},
): object {
  return { ...head, object, choices, ...more };
}

/** What a caller who asked for usage gets of it. */
export function usageChunk(
  head: CompletionHead,
  format: StreamFormat,
  result: InferenceResult,
): object {
  return chunkOf(head, format, [], { usage: usageOf(result) });
}

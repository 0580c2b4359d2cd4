import type { InferenceResult } from '../protocol/result.ts';
import { chatLogprobsView, textLogprobsView } from './logprobs-view.ts';

/** What all answers to one request share. */
export interface CompletionHead {
  readonly id: string;
  /** Seconds since the epoch, as OpenAI has it. */
  readonly created: number;
  readonly model: string;
}

export type Choice = InferenceResult['choices'][number];

/** The objects that one of OpenAI's APIs answers with: all else about an answer is the same. */
export interface CompletionShape {
  /** The whole answer. */
  whole(head: CompletionHead, result: InferenceResult): object;
  /** The chunk before any text; null where there is none. */
  begin(head: CompletionHead): object | null;
  /** A piece of one choice's text. */
  text(head: CompletionHead, index: number, text: string): object;
  /** The end of one choice, and its log probabilities if they were asked for. */
  finish(head: CompletionHead, index: number, choice: Choice): object;
  /** For callers who asked for it, once all choices have ended. */
  usage(head: CompletionHead, result: InferenceResult): object;
  /** The last chunk: what became of the request. */
  last(head: CompletionHead, parallelix: object): object;
}

/** `chat.completion`, `chat.completion.chunk`. */
export const chatShape: CompletionShape = {
  whole: (head, result) => ({
    ...head,
    object: 'chat.completion',
    system_fingerprint: result.engine,
    choices: result.choices.map(({ text, finishReason, logprobs }, index) => ({
      index,
      message: { role: 'assistant', content: text, refusal: null },
      logprobs: chatLogprobsView(logprobs),
      finish_reason: finishReason,
    })),
    usage: usage(result),
  }),
  begin: (head) => chatChunk(head, 0, { role: 'assistant', content: '' }),
  text: (head, index, content) =>
    // The chunk before any text is the first choice's.
    chatChunk(head, index, { ...(index > 0 ? { role: 'assistant' } : {}), content }),
  finish: (head, index, { finishReason, logprobs }) =>
    chatChunk(head, index, {}, finishReason, logprobs),
  usage: (head, result) => ({ ...head, ...CHAT_CHUNK, choices: [], usage: usage(result) }),
  last: (head, parallelix) => ({ ...head, ...CHAT_CHUNK, choices: [], parallelix }),
};

/** `text_completion`, which is the object of whole answers and of chunks alike. */
export const textShape: CompletionShape = {
  whole: (head, result) => ({
    ...head,
    ...TEXT,
    system_fingerprint: result.engine,
    choices: result.choices.map(({ text, finishReason, logprobs }, index) =>
      textChoice(index, text, finishReason, logprobs),
    ),
    usage: usage(result),
  }),
  begin: () => null,
  text: (head, index, text) => ({
    ...head,
    ...TEXT,
    choices: [textChoice(index, text, null)],
  }),
  finish: (head, index, { finishReason, logprobs }) => ({
    ...head,
    ...TEXT,
    choices: [textChoice(index, '', finishReason, logprobs)],
  }),
  usage: (head, result) => ({ ...head, ...TEXT, choices: [], usage: usage(result) }),
  last: (head, parallelix) => ({ ...head, ...TEXT, choices: [], parallelix }),
};

const CHAT_CHUNK = { object: 'chat.completion.chunk' } as const;
const TEXT = { object: 'text_completion' } as const;

function chatChunk(
  head: CompletionHead,
  index: number,
  delta: { role?: 'assistant'; content?: string },
  finishReason: string | null = null,
  logprobs?: Choice['logprobs'],
) {
  const choice = {
    index,
    delta,
    logprobs: chatLogprobsView(logprobs),
    finish_reason: finishReason,
  };
  return { ...head, ...CHAT_CHUNK, choices: [choice] };
}

function textChoice(
  index: number,
  text: string,
  finishReason: string | null,
  logprobs?: Choice['logprobs'],
) {
  return { index, text, logprobs: textLogprobsView(logprobs), finish_reason: finishReason };
}

function usage({ usage }: InferenceResult) {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
  };
}

import { createHash } from 'node:crypto';
import type { Generation } from '../../nodes/backends/backend.ts';
import {
  emptyStreamDigest,
  extendStreamDigest,
  type InferenceResult,
} from '../../protocol/result.ts';
import { LLM_REQUESTS } from './llm-requests.ts';
import type { Pair } from './rates.ts';

/** What a node says that it answered. */
export type Answer = Pick<InferenceResult['choices'][number], 'text' | 'finishReason'> & {
  readonly tokenIds: readonly number[];
  readonly promptTokens: number;
};

/** The same answer twice is stored once. A digest stands for each text, to keep it small. */
export interface LlmData {
  readonly engine: string;
  readonly modelDigest: string;
  readonly answers: readonly Answer[];
  /** Kind, whether both were honest, request, and both answers by their place in `answers`. */
  readonly pairs: readonly (readonly [string, boolean, number, number, number])[];
}

/** The pairs as results that nodes would have returned, frames cut one way and the other. */
export function llmPairs(data: LlmData): Pair<InferenceResult>[] {
  const result = (request: number, answer: number, frames: number): InferenceResult => {
    const { text, finishReason, tokenIds, promptTokens } = at(data.answers, answer);
    return {
      v: 1,
      modelDigest: data.modelDigest,
      engine: data.engine,
      seed: at(LLM_REQUESTS, request).seed,
      choices: [{ text, tokenIds: [...tokenIds], finishReason }],
      usage: { promptTokens, completionTokens: tokenIds.length },
      streamDigest: streamDigest(text, frames),
    };
  };
  return data.pairs.map(([kind, isHonest, request, a, b]) => ({
    kind,
    isHonest,
    a: result(request, a, 1),
    b: result(request, b, 2),
  }));
}

/** Collects pairs, and each answer once. */
export class LlmPairs {
  readonly #places = new Map<string, number>();
  readonly #pairs: LlmData['pairs'][number][] = [];

  add(kind: string, isHonest: boolean, request: number, [a, b]: readonly [Answer, Answer]): void {
    this.#pairs.push([kind, isHonest, request, this.#place(a), this.#place(b)]);
  }

  data(model: Pick<LlmData, 'engine' | 'modelDigest'>): LlmData {
    const answers = [...this.#places.keys()].map((text) => JSON.parse(text) as Answer);
    return { ...model, answers, pairs: this.#pairs };
  }

  #place({ text, tokenIds, finishReason, promptTokens }: Answer): number {
    const digest = createHash('sha256').update(text).digest('hex').slice(0, DIGEST_DIGITS);
    const key = JSON.stringify({ text: digest, finishReason, promptTokens, tokenIds });
    const place = this.#places.get(key) ?? this.#places.size;
    this.#places.set(key, place);
    return place;
  }
}

/** Enough to tell some hundred texts apart. */
const DIGEST_DIGITS = 12;

/** @throws Error for what only an engine of another kind returns. */
export function answerOf({ text, tokenIds, finishReason, promptTokens }: Generation): Answer {
  if (tokenIds === null) throw new Error('the engine tells no token ids');
  return { text, tokenIds, finishReason, promptTokens };
}

function streamDigest(text: string, frames: number): string {
  const characters = Array.from(text);
  const size = Math.ceil(characters.length / frames);
  let digest = emptyStreamDigest;
  for (let start = 0; start < characters.length; start += size)
    digest = extendStreamDigest(digest, characters.slice(start, start + size).join(''));
  return digest;
}

function at<Item>(items: readonly Item[], index: number): Item {
  const item = items[index];
  if (item === undefined) throw new RangeError(`there is nothing at ${index}`);
  return item;
}

import { choiceSeed, type RequestParameters } from '../protocol/receive.ts';
import type { InferenceResult } from '../protocol/result.ts';
import { BackendFailedError, type Backend, type Generation } from './backends/backend.ts';
import { assertServable, type InferencePayload } from './payload.ts';

/** What a unit asks the backend for. */
export interface Work {
  readonly payload: InferencePayload;
  readonly parameters: RequestParameters;
  /** The unit's: that of its first choice. */
  readonly seed: number;
}

/**
 * All choices of a unit, in their order. One after the other, since a unit has one slot; an abort
 * leaves those cancelled that aren't whole.
 *
 * @param onText gets the text of a unit's only choice; several aren't streamed.
 * @throws as the backend does, and InvalidRequestError for what it can't do.
 */
export async function generateChoices(
  backend: Backend,
  { payload, parameters, seed }: Work,
  onText: (delta: string) => void,
  signal: AbortSignal,
): Promise<readonly Generation[]> {
  assertServable(backend, payload, parameters);
  const { choices = 1, maxTokens } = parameters;
  const hear = choices > 1 ? () => {} : onText;
  const generations: Generation[] = [];
  for (let index = 0; index < choices; index += 1) {
    const request = { ...payload, maxTokens, seed: choiceSeed(seed, index) };
    const generation = await backend.generate(request, hear, signal);
    if (payload.logprobs !== undefined && generation.logprobs === undefined)
      throw new BackendFailedError('The backend told no log probabilities, which were asked for.');
    generations.push(generation);
  }
  return generations;
}

/** Choices and usage of a result: the prompt counts once, the tokens of all choices together. */
export function outcomeOf(
  generations: readonly Generation[],
): Pick<InferenceResult, 'choices' | 'usage'> {
  return {
    choices: generations.map(({ text, tokenIds, finishReason, logprobs }) => ({
      text,
      ...(tokenIds ? { tokenIds: [...tokenIds] } : {}),
      finishReason,
      ...(logprobs ? { logprobs: [...logprobs] } : {}),
    })),
    usage: {
      // Engines that count at the end say 0 of a choice that was cancelled.
      promptTokens: Math.max(0, ...generations.map(({ promptTokens }) => promptTokens)),
      completionTokens: generations.reduce((sum, made) => sum + made.completionTokens, 0),
    },
  };
}

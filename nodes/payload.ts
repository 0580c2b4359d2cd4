import { z } from 'zod';
import { parseCanonical } from '../protocol/canonical.ts';
import { outputTokensMax, type RequestParameters } from '../protocol/receive.ts';
import { LOGPROBS_MAX, TOP_LOGPROBS_MAX } from '../protocol/result.ts';
import { InvalidRequestError, type Backend, type GenerateRequest } from './backends/backend.ts';

const sampling = {
  temperature: z.number(),
  topP: z.number(),
  stop: z.array(z.string()),
  logprobs: z.int().min(0).max(TOP_LOGPROBS_MAX).optional(),
};
const message = z.strictObject({
  role: z.enum(['system', 'user', 'assistant']),
  content: z.string(),
});

/** The sealed payload of class `ai.inference`, as canonical JSON: a conversation, or a prompt. */
const payloadSchema = z.union([
  z.strictObject({ messages: z.array(message).min(1), ...sampling }),
  z.strictObject({ prompt: z.string().min(1), ...sampling }),
]);

export type InferencePayload = Omit<GenerateRequest, 'maxTokens' | 'seed'>;

/** @throws Error when the bytes aren't a payload of the class; the message quotes none of it. */
export function parsePayload(bytes: Uint8Array): InferencePayload {
  const parsed = payloadSchema.safeParse(parseCanonical(bytes));
  if (parsed.success) return { messages: [], ...parsed.data };
  throw new Error('the payload has not the shape of its workload class');
}

/**
 * Refuses a payload that asks for what was not said beside the seal, where the scheduler reads it,
 * or for what the backend can't do. The payload was sealed: nobody has looked at it before.
 *
 * @throws InvalidRequestError
 */
export function assertServable(
  { features }: Pick<Backend, 'features'>,
  { logprobs, prompt }: InferencePayload,
  parameters: RequestParameters,
): void {
  const { choices = 1, features: said = [] } = parameters;
  const asked = {
    choices: choices > 1,
    completion: prompt !== undefined,
    logprobs: logprobs !== undefined,
  };
  const mine: readonly string[] = ['choices', ...features];
  for (const [feature, isAsked] of Object.entries(asked)) {
    if (isAsked !== said.some((name) => name === feature))
      throw new InvalidRequestError(`The payload and the features differ about ${feature}.`);
    if (isAsked && !mine.includes(feature))
      throw new InvalidRequestError(`The backend can't do ${feature}.`);
  }
  if (outputTokensMax(parameters) * (1 + (logprobs ?? 0)) > LOGPROBS_MAX && asked.logprobs)
    throw new InvalidRequestError(`More than ${LOGPROBS_MAX} log probabilities are asked for.`);
}

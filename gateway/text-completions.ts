import { z } from 'zod';
import { assertCommon, COMMON_FIELDS, parseBody, sampling } from './common-fields.ts';
import type { ChatPayload } from './openai.ts';

/** As OpenAI has it for completions, which chats have no default like. */
const MAX_TOKENS_OF_COMPLETIONS = 16;
/** Alternatives that OpenAI's older API gives at most. */
const TOP_LOGPROBS_OF_COMPLETIONS = 5;

const text = z.string().min(1);

/** The body of `POST /v1/completions`: one prompt as it is, without a chat template. */
export const textRequestSchema = z.strictObject({
  ...COMMON_FIELDS,
  prompt: z
    .union([text, z.tuple([text])], {
      error: 'has to be one text: token ids, several prompts and an empty one are not served',
    })
    .transform((prompt) => (typeof prompt === 'string' ? prompt : prompt[0])),
  logprobs: z.int().min(0).max(TOP_LOGPROBS_OF_COMPLETIONS).nullish(),
  echo: z.literal(false, { error: 'is not served' }).nullish(),
  suffix: z.null({ error: 'is not served' }).optional(),
  best_of: z.null({ error: 'is not served' }).optional(),
});

export type TextRequest = z.infer<typeof textRequestSchema>;

/** The sealed payload of a completion: what the node reads, and nobody else. */
export interface TextPayload extends Omit<ChatPayload, 'messages'> {
  /** What the model goes on from. */
  readonly prompt: string;
}

/** @throws MalformedRequestError, naming the first wrong field. */
export function parseTextRequest(body: unknown): TextRequest {
  const request = parseBody(textRequestSchema, body);
  const { logprobs } = request;
  assertCommon(request, { maxTokens: textMaxTokens(request), logprobs: logprobs ?? undefined });
  return request;
}

/** The part of a completion request that is sealed. */
export function textPayload(request: TextRequest): TextPayload {
  const { prompt, logprobs } = request;
  return { prompt, ...sampling(request), ...(typeof logprobs === 'number' ? { logprobs } : {}) };
}

/** Upper bound of generated tokens, for each choice. */
export function textMaxTokens({ max_tokens }: TextRequest): number {
  return max_tokens ?? MAX_TOKENS_OF_COMPLETIONS;
}

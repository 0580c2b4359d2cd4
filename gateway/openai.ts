import { z } from 'zod';
import { MAX_TOKENS_DEFAULT } from '../protocol/receive.ts';
import { TOP_LOGPROBS_MAX } from '../protocol/result.ts';
import {
  assertCommon,
  COMMON_FIELDS,
  maxTokensField,
  parseBody,
  sampling,
} from './common-fields.ts';
import { MalformedRequestError } from './errors.ts';
import { listOf, textsByName } from './lists.ts';

const textPart = z.strictObject({ type: z.literal('text'), text: z.string() });
/** OpenAI's content is text, or parts of which this network serves the text ones. */
const content = z.union([
  z.string(),
  listOf(textPart).transform((parts) => parts.map(({ text }) => text).join('')),
]);
const asked = z.strictObject({ role: z.enum(['system', 'developer', 'user']), content });
const nothing = z.null().optional();
/** As our answers have it, or OpenAI's SDKs make of them: a conversation sends it back. */
const answered = z.strictObject({
  role: z.literal('assistant'),
  content,
  refusal: nothing,
  annotations: z.array(z.unknown()).max(0).nullish(),
  audio: nothing,
  function_call: nothing,
  tool_calls: nothing,
  parsed: nothing,
});
const message = z
  .discriminatedUnion('role', [asked, answered])
  .transform(({ role, content }) => ({ role, content }));

/**
 * The body of `POST /v1/chat/completions`. Fields of OpenAI's API that would change the answer and
 * aren't served are refused rather than ignored; purely informative ones are accepted.
 */
export const chatRequestSchema = z.strictObject({
  ...COMMON_FIELDS,
  messages: listOf(message, { min: 1 }),
  max_completion_tokens: maxTokensField,
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(TOP_LOGPROBS_MAX).nullish(),
  metadata: textsByName().nullish(),
  store: z.literal(false).nullish(),
});

export type ChatRequest = z.infer<typeof chatRequestSchema>;

/** The sealed payload of an inference request: what the node reads, and nobody else. */
export interface ChatPayload {
  readonly messages: readonly { role: 'system' | 'user' | 'assistant'; content: string }[];
  readonly temperature: number;
  readonly topP: number;
  readonly stop: readonly string[];
  /** Alternatives to each token whose log probabilities are told as well. Absent: none are told. */
  readonly logprobs?: number;
}

/** @throws MalformedRequestError, naming the first wrong field. */
export function parseChatRequest(body: unknown): ChatRequest {
  const request = parseBody(chatRequestSchema, body);
  if (request.top_logprobs && !request.logprobs)
    throw new MalformedRequestError('top_logprobs', 'needs logprobs: true');
  assertCommon(request, { maxTokens: chatMaxTokens(request), logprobs: chatLogprobs(request) });
  return request;
}

/** The part of a chat request that is sealed. `developer` is OpenAI's newer name for `system`. */
export function chatPayload(request: ChatRequest): ChatPayload {
  const logprobs = chatLogprobs(request);
  return {
    messages: request.messages.map(({ role, content }) => ({
      role: role === 'developer' ? 'system' : role,
      content,
    })),
    ...sampling(request),
    ...(logprobs === undefined ? {} : { logprobs }),
  };
}

/** OpenAI caps the output by two names; the newer one wins. */
export function chatMaxTokens(request: ChatRequest): number {
  return request.max_completion_tokens ?? request.max_tokens ?? MAX_TOKENS_DEFAULT;
}

/** How many alternatives to each token; undefined when no log probabilities are asked for. */
export function chatLogprobs({ logprobs, top_logprobs }: ChatRequest): number | undefined {
  return logprobs ? (top_logprobs ?? 0) : undefined;
}

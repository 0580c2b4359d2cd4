import { z } from 'zod';
import {
  DEADLINE_SECONDS_DEFAULT,
  DEADLINE_SECONDS_MAX,
  HARDWARE_TIER_MAX,
  MAX_TOKENS_DEFAULT,
  MAX_TOKENS_MAX,
  NAME,
  type Delivery,
} from '../protocol/receive.ts';
import { MalformedRequestError } from './errors.ts';
import { askedVerification, isVerificationOnce, ownFields } from './own-fields.ts';

const textPart = z.object({ type: z.literal('text'), text: z.string() });
/** OpenAI's content is text, or parts of which this network serves the text ones. */
const content = z.union([
  z.string(),
  z.array(textPart).transform((parts) => parts.map(({ text }) => text).join('')),
]);
const message = z.object({
  role: z.enum(['system', 'developer', 'user', 'assistant']),
  content,
});

const stopString = z.string().min(1).max(512);

/**
 * The body of `POST /v1/chat/completions`. Fields of OpenAI's API that would change the answer and
 * aren't served are refused rather than ignored; purely informative ones are accepted.
 * `workload_class`, `hardware_tier`, `priority`, `deadline_seconds`, those of `own-fields.ts` and
 * `include_verification` are the lifecycle's own.
 */
const chatFields = z.strictObject({
  model: z.string().regex(NAME, 'is not a name'),
  messages: z.array(message).min(1),
  stream: z.boolean().nullish(),
  stream_options: z
    .strictObject({
      include_usage: z.boolean().optional(),
      include_obfuscation: z.boolean().optional(),
      include_verification: z.boolean().optional(),
    })
    .nullish(),
  max_tokens: z.int().min(1).max(MAX_TOKENS_MAX).nullish(),
  max_completion_tokens: z.int().min(1).max(MAX_TOKENS_MAX).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  seed: z.int().min(0).max(0xffff_ffff).nullish(),
  stop: z.union([stopString, z.array(stopString).max(4)]).nullish(),
  n: z.literal(1).nullish(),
  user: z.string().optional(),
  metadata: z.record(z.string(), z.string()).nullish(),
  store: z.literal(false).nullish(),
  workload_class: z.string().regex(NAME, 'is not a name').default('ai.inference'),
  hardware_tier: z.int().min(1).max(HARDWARE_TIER_MAX).default(1),
  priority: z.enum(['standard', 'expedited', 'urgent']).default('standard'),
  deadline_seconds: z.int().min(1).max(DEADLINE_SECONDS_MAX).default(DEADLINE_SECONDS_DEFAULT),
  ...ownFields,
});

export const chatRequestSchema = chatFields
  .refine(isVerificationOnce, {
    path: ['delivery'],
    message: 'is the older name of verification: send one of them',
  })
  .refine(({ delivery, stream }) => delivery !== 'early' || stream, {
    path: ['delivery'],
    message: 'early needs stream: true',
  })
  .refine(({ verification, stream }) => verification !== 'early' || stream, {
    path: ['verification'],
    message: 'early needs stream: true',
  })
  .refine(({ stream_options: options, stream }) => !options?.include_verification || stream, {
    path: ['stream_options', 'include_verification'],
    message: 'needs stream: true',
  });

export type ChatRequest = z.infer<typeof chatRequestSchema>;

/** The sealed payload of an inference request: what the node reads, and nobody else. */
export interface ChatPayload {
  readonly messages: readonly { role: 'system' | 'user' | 'assistant'; content: string }[];
  readonly temperature: number;
  readonly topP: number;
  readonly stop: readonly string[];
}

/** @throws CodedError `receive.malformed_request`, naming the first wrong field. */
export function parseChatRequest(body: unknown): ChatRequest {
  const parsed = chatRequestSchema.safeParse(body);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const path = issue?.path.join('.') ?? '';
  const what = issue?.code === 'unrecognized_keys' ? `unsupported: ${issue.keys.join(', ')}` : '';
  throw new MalformedRequestError(path, what || (issue?.message ?? 'invalid'));
}

/** The part of a chat request that is sealed. `developer` is OpenAI's newer name for `system`. */
export function chatPayload(request: ChatRequest): ChatPayload {
  const { stop } = request;
  return {
    messages: request.messages.map(({ role, content }) => ({
      role: role === 'developer' ? 'system' : role,
      content,
    })),
    temperature: request.temperature ?? 1,
    topP: request.top_p ?? 1,
    stop: typeof stop === 'string' ? [stop] : (stop ?? []),
  };
}

/** OpenAI caps the output by two names; the newer one wins. */
export function maxTokensOf(request: ChatRequest): number {
  return request.max_completion_tokens ?? request.max_tokens ?? MAX_TOKENS_DEFAULT;
}

/** What has to be known before the caller gets the text: by default a stream is early. */
export function deliveryOf(request: ChatRequest): Delivery {
  return askedVerification(request) ?? (request.stream ? 'early' : 'validated');
}

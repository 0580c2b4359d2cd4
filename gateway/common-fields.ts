import { z } from 'zod';
import {
  CHOICES_MAX,
  DEADLINE_SECONDS_DEFAULT,
  DEADLINE_SECONDS_MAX,
  HARDWARE_TIER_MAX,
  MAX_TOKENS_MAX,
  NAME,
  type Delivery,
} from '../protocol/receive.ts';
import { LOGPROBS_MAX } from '../protocol/result.ts';
import { MalformedRequestError } from './errors.ts';
import { listOf } from './lists.ts';
import { askedVerification, isVerificationOnce, ownFields } from './own-fields.ts';

const stopString = z.string().min(1).max(512);

/** The bound of generated tokens, in each of the fields that OpenAI has for it. */
export const maxTokensField = z.int().min(1).max(MAX_TOKENS_MAX).nullish();

/**
 * What chats and completions have in common. `workload_class`, `hardware_tier`, `priority`,
 * `deadline_seconds`, those of `own-fields.ts` and `include_verification` are the lifecycle's own.
 */
export const COMMON_FIELDS = {
  model: z.string().regex(NAME, 'is not a name'),
  stream: z.boolean().nullish(),
  stream_options: z
    .strictObject({
      include_usage: z.boolean().optional(),
      include_obfuscation: z.boolean().optional(),
      include_verification: z.boolean().optional(),
    })
    .nullish(),
  max_tokens: maxTokensField,
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  seed: z.int().min(0).max(0xffff_ffff).nullish(),
  stop: z.union([stopString, listOf(stopString, { max: 4 })]).nullish(),
  n: z.int().min(1).max(CHOICES_MAX).nullish(),
  user: z.string().optional(),
  workload_class: z.string().regex(NAME, 'is not a name').default('ai.inference'),
  hardware_tier: z.int().min(1).max(HARDWARE_TIER_MAX).default(1),
  priority: z.enum(['standard', 'expedited', 'urgent']).default('standard'),
  deadline_seconds: z.int().min(1).max(DEADLINE_SECONDS_MAX).default(DEADLINE_SECONDS_DEFAULT),
  ...ownFields,
};

const common = z.strictObject(COMMON_FIELDS);

/** What of a request its kind doesn't matter for. */
export type CommonRequest = z.infer<typeof common>;

/** What decides whether an answer can be streamed as it is made, and how large it may become. */
interface Asked {
  readonly maxTokens: number;
  /** Of alternatives to each token, 0 to 20; undefined when no log probabilities are asked for. */
  readonly logprobs: number | undefined;
}

/**
 * The rules between fields, the first one that fails.
 *
 * @throws MalformedRequestError
 */
export function assertCommon(request: CommonRequest, { maxTokens, logprobs }: Asked): void {
  const { stream, stream_options: options } = request;
  const choices = choicesOf(request);
  if (!isVerificationOnce(request))
    throw new MalformedRequestError(
      'delivery',
      'is the older name of verification: send one of them',
    );
  if (askedVerification(request) === 'early') {
    const name = request.verification === 'early' ? 'verification' : 'delivery';
    if (!stream) throw new MalformedRequestError(name, 'early needs stream: true');
    if (choices > 1 || logprobs !== undefined)
      throw new MalformedRequestError(name, 'early goes with one choice and without logprobs');
  }
  if (options?.include_verification && !stream)
    throw new MalformedRequestError('stream_options.include_verification', 'needs stream: true');
  if (choices * maxTokens > MAX_TOKENS_MAX)
    throw new MalformedRequestError('n', `all choices together: at most ${MAX_TOKENS_MAX} tokens`);
  if (logprobs !== undefined && choices * maxTokens * (1 + logprobs) > LOGPROBS_MAX)
    throw new MalformedRequestError(
      'logprobs',
      `choices × tokens × (1 + alternatives) is at most ${LOGPROBS_MAX}: ask for fewer tokens`,
    );
}

/**
 * What has to be known before the caller gets the text: by default a stream is early, unless it has
 * several choices or log probabilities, which come whole.
 *
 * @param isWhole whether log probabilities are asked for.
 */
export function commonDelivery(request: CommonRequest, isWhole: boolean): Delivery {
  const isStreamed = request.stream && choicesOf(request) === 1 && !isWhole;
  return askedVerification(request) ?? (isStreamed ? 'early' : 'validated');
}

/** How many answers are asked for. */
export function choicesOf({ n }: Pick<CommonRequest, 'n'>): number {
  return n ?? 1;
}

/** How the tokens are drawn, and where the answer ends: a part of each sealed payload. */
export function sampling({ temperature, top_p, stop }: CommonRequest) {
  return {
    temperature: temperature ?? 1,
    topP: top_p ?? 1,
    stop: typeof stop === 'string' ? [stop] : (stop ?? []),
  };
}

/** @throws MalformedRequestError, naming the first wrong field. */
export function parseBody<Schema extends z.ZodType>(schema: Schema, body: unknown) {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const [first] = parsed.error.issues;
  const issue = first && unknownWithin(first);
  const path = issue?.path ?? [];
  if (issue?.code === 'unrecognized_keys')
    throw new MalformedRequestError([...path, issue.keys[0]].join('.'), 'unsupported');
  throw new MalformedRequestError(path.join('.'), issue?.message ?? 'invalid');
}

type Issue = z.core.$ZodIssue;

/** What fits one of several forms, but for a member that it doesn't have, is named by that. */
function unknownWithin(issue: Issue): Issue {
  if (issue.code !== 'invalid_union') return issue;
  const nearest = issue.errors.find(([first]) => first?.code === 'unrecognized_keys')?.[0];
  return nearest ? { ...nearest, path: [...issue.path, ...nearest.path] } : issue;
}

import type { Delivery, Feature } from '../protocol/receive.ts';
import { choicesOf, commonDelivery } from './common-fields.ts';
import {
  chatLogprobs,
  chatMaxTokens,
  chatPayload,
  type ChatPayload,
  type ChatRequest,
} from './openai.ts';
import {
  textMaxTokens,
  textPayload,
  type TextPayload,
  type TextRequest,
} from './text-completions.ts';

/** What apps ask for, in either of OpenAI's shapes. */
export type InferenceRequest = ChatRequest | TextRequest;

/** What is sealed to the node. */
export function payloadOf(request: InferenceRequest): ChatPayload | TextPayload {
  return isChat(request) ? chatPayload(request) : textPayload(request);
}

/** Upper bound of generated tokens, for each choice. */
export function maxTokensOf(request: InferenceRequest): number {
  return isChat(request) ? chatMaxTokens(request) : textMaxTokens(request);
}

/** What has to be known before the caller gets the text. */
export function deliveryOf(request: InferenceRequest): Delivery {
  return commonDelivery(request, hasLogprobs(request));
}

/**
 * What is said to the coordinator beside the seal: number of answers, and what the node has to be
 * able to do. Absent fields stay absent, since the seal covers them.
 */
export function extrasOf(request: InferenceRequest): {
  readonly choices?: number;
  readonly features?: readonly Feature[];
} {
  const choices = choicesOf(request);
  const features: Feature[] = [
    ...(choices > 1 ? (['choices'] as const) : []),
    ...(isChat(request) ? [] : (['completion'] as const)),
    ...(hasLogprobs(request) ? (['logprobs'] as const) : []),
  ];
  return {
    ...(choices > 1 ? { choices } : {}),
    ...(features.length > 0 ? { features } : {}),
  };
}

/** Whether log probabilities are asked for. */
function hasLogprobs(request: InferenceRequest): boolean {
  if (isChat(request)) return chatLogprobs(request) !== undefined;
  return typeof request.logprobs === 'number';
}

function isChat(request: InferenceRequest): request is ChatRequest {
  return 'messages' in request;
}

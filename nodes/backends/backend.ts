import { isWellFormed } from '../../protocol/canonical.ts';
import type { Feature } from '../../protocol/receive.ts';
import { TOP_LOGPROBS_MAX, type TokenLogprob } from '../../protocol/result.ts';

/** One turn of a conversation, as in OpenAI's Chat Completions. */
export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/**
 * One generation. The same request on the same engine and weights gives the same token ids,
 * whatever runs beside it; that is tested on CPUs only, and with the embedded engine only. What a
 * server behind `openai.ts` does with a seed is up to that server.
 */
export interface GenerateRequest {
  /** At least one, unless there is a prompt. The model answers with a new assistant turn. */
  readonly messages: readonly ChatMessage[];
  /** Instead of messages: a text to go on with, as it is. Needs the feature `completion`. */
  readonly prompt?: string | undefined;
  /**
   * Number of alternatives, 0 to 20, whose log probabilities are told beside those of the sampled
   * tokens. Absent: none are told. Needs the feature `logprobs`.
   */
  readonly logprobs?: number | undefined;
  /** Upper bound of sampled tokens, at least 1. */
  readonly maxTokens: number;
  /** 0 (greedy: the seed has no effect) to 2. */
  readonly temperature: number;
  /** Nucleus sampling, above 0 to 1 (off). */
  readonly topP: number;
  /** Unsigned 32 bits. */
  readonly seed: number;
  /** At most `STOP_COUNT_MAX` texts that end the answer; none of them is part of it. */
  readonly stop: readonly string[];
}

/** What one generation made. */
export interface Generation {
  /**
   * Exactly the concatenation of the deltas streamed. It leaves out the stop string and what
   * follows it, control tokens, and the first bytes of a character that was never finished.
   */
  readonly text: string;
  /**
   * Every token as sampled, in order. It includes the end-of-generation token and the tokens of a
   * stop string: with them a checker can tell that the model, not the node, ended the answer.
   *
   * Null when the engine doesn't tell them, as OpenAI's API doesn't. Such an answer can only be
   * checked by its text and its counts.
   */
  readonly tokenIds: readonly number[] | null;
  /**
   * Tokens of the conversation in the model's chat template. 0 in a cancelled generation of an
   * engine that counts at the end.
   */
  readonly promptTokens: number;
  /**
   * `tokenIds.length` where there are ids; a `length` finish always has exactly `maxTokens`. It may
   * count tokens that aren't part of the text, as those of a reasoning that the engine holds back.
   * In a cancelled generation of an engine that counts at the end: pieces of text.
   */
  readonly completionTokens: number;
  readonly finishReason: 'stop' | 'length' | 'cancelled';
  /**
   * Of the tokens that are part of the text, no more than `completionTokens`; there if they were
   * asked for. Of which distribution they are is up to the engine.
   */
  readonly logprobs?: readonly TokenLogprob[];
}

/** The weights that a backend serves. */
export interface ModelDescription {
  /** The name that requests ask for. */
  readonly id: string;
  /** SHA-256 of the weights file, in lower-case hex; as the operator declares it where the engine
   * can't be asked. */
  readonly digest: `sha256:${string}`;
  /** As the weights file declares it, such as `Q4_1`; `unknown` where the engine doesn't tell. */
  readonly quantisation: string;
  /** Bounds prompt and output of one generation together. */
  readonly contextTokens: number;
}

/** An inference engine with one model loaded. */
export interface Backend {
  /** Engine, version, build and hardware, at most `ENGINE_LENGTH_MAX` characters: nodes with the
   * same engine and model digest are expected to sample the same tokens. An engine behind a
   * network may be another one after an outage; it doesn't change while it is healthy. */
  readonly engine: string;
  readonly model: ModelDescription;
  /** Concurrent generations; further ones wait in order. */
  readonly slots: number;
  /** What it can do besides chat; `choices` are made of several generations by whoever asks. */
  readonly features: readonly Exclude<Feature, 'choices'>[];
  /**
   * Answers a conversation. `onText` gets the text piece by piece, never an empty piece nor half a
   * character; an exception of it ends the generation and is passed on. An abort isn't an
   * error: what was made until then is returned with finish reason `cancelled`.
   *
   * Throws `InvalidRequestError`, `ContextExceededError` and `BackendFailedError`.
   */
  generate(
    request: GenerateRequest,
    onText: (delta: string) => void,
    signal: AbortSignal,
  ): Promise<Generation>;
  /**
   * Resolves when the engine can be expected to serve, without generating. Throws
   * `BackendFailedError`; it may be healthy again later.
   */
  health(): Promise<void>;
  /** Frees everything. Generations under way fail with `BackendFailedError`. Idempotent. */
  close(): Promise<void>;
}

/** Longest engine name that the result schema takes. */
export const ENGINE_LENGTH_MAX = 200;
/** Most stop strings of one request. */
export const STOP_COUNT_MAX = 16;
/** Longest stop string, in UTF-16 code units: each is compared with every token's text. */
export const STOP_LENGTH_MAX = 512;

/** No node can run the request: `execute.invalid_request`. */
export class InvalidRequestError extends Error {
  override readonly name = 'InvalidRequestError';
}

/** Prompt and `maxTokens` together exceed the model's context: `execute.context_exceeded`. */
export class ContextExceededError extends Error {
  override readonly name = 'ContextExceededError';
  /** A lower bound when the prompt was too long to be worth tokenising. */
  readonly promptTokens: number;
  readonly maxTokens: number;
  readonly contextTokens: number;

  /** All counts are tokens. */
  constructor(count: { promptTokens: number; maxTokens: number; contextTokens: number }) {
    super(
      `The prompt has ${count.promptTokens} tokens and the answer may have ${count.maxTokens}, ` +
        `together more than the model's context of ${count.contextTokens}. Shorten the ` +
        'conversation or ask for fewer tokens.',
    );
    this.promptTokens = count.promptTokens;
    this.maxTokens = count.maxTokens;
    this.contextTokens = count.contextTokens;
  }
}

/** The engine or its model can't serve: `execute.backend_failed`. */
export class BackendFailedError extends Error {
  override readonly name = 'BackendFailedError';
}

/**
 * Refuses a request that no backend can honour. The payload is sealed, so nobody has looked at it
 * before the node. Throws `InvalidRequestError`, which names the field but never its text.
 */
export function assertGenerateRequest(request: GenerateRequest): void {
  const { logprobs, maxTokens, messages, prompt, seed, stop, temperature, topP } = request;
  if (prompt === undefined) assert(messages.length > 0, 'messages must hold at least one message');
  else assert(messages.length === 0 && prompt !== '', 'prompt must be some text, without messages');
  const isCount = logprobs === undefined || (Number.isInteger(logprobs) && logprobs >= 0);
  assert(isCount && (logprobs ?? 0) <= TOP_LOGPROBS_MAX, 'logprobs must be from 0 to 20');
  assert(Number.isInteger(maxTokens) && maxTokens >= 1, 'maxTokens must be a whole number from 1');
  assert(temperature >= 0 && temperature <= 2, 'temperature must be from 0 to 2');
  assert(topP > 0 && topP <= 1, 'topP must be above 0 and at most 1');
  assert(isUint32(seed), 'seed must be a whole number from 0 to 4294967295');
  assert(stop.length <= STOP_COUNT_MAX, `stop must hold at most ${STOP_COUNT_MAX} strings`);
  for (const text of stop) {
    const fits = text.length > 0 && text.length <= STOP_LENGTH_MAX && isWellFormed(text);
    assert(fits, `each stop string must be Unicode text of 1 to ${STOP_LENGTH_MAX} characters`);
  }
}

function assert(condition: boolean, rule: string): void {
  if (!condition) throw new InvalidRequestError(`The request can't be run: ${rule}.`);
}

function isUint32(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;
}

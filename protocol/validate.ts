import type { ErrorCode } from './errors.ts';
import type { NodeReturn } from './execute.ts';
import { promptTokensMax, type RequestParameters } from './receive.ts';
import { RESULT_BYTES_MAX, TOP_LOGPROBS_MAX, type InferenceResult } from './result.ts';

/** What a result has to fit, from the accepted request. */
export interface Expectation {
  readonly parameters: RequestParameters;
  readonly modelDigest: string;
  readonly seed: number;
  /** Length of the sealed payload: no prompt has more tokens than bytes. */
  readonly payloadBytes: number;
}

/** What whoever relayed the stream of this attempt saw of it. */
export interface Relayed {
  /** The deltas in order, joined. */
  readonly text: string;
  /** Digest of the frame chain so far, hex. */
  readonly streamDigest: string;
  /** Whether the closing frame came. */
  readonly ended: boolean;
  /** How many frames of text reached whoever asked for the stream. */
  readonly deltaFrames: number;
}

/** UTF-8 bytes that one token may stand for, generously. */
const BYTES_PER_TOKEN_MAX = 256;
/** The log probabilities of one token and its alternatives, generously. */
const LOGPROBS_BYTES_MAX = (1 + TOP_LOGPROBS_MAX) * 128;
/** Room for the result's fixed fields and for base64 of the envelope. */
const RETURN_OVERHEAD_BYTES = 16 * 1024;

/** Upper bound of an honest return's size; a larger one is `poe.oversize`. */
export function returnBytesMax({
  maxTokens,
  choices = 1,
  features = [],
}: Pick<RequestParameters, 'maxTokens' | 'choices' | 'features'>): number {
  const logprobsBytes = features.includes('logprobs') ? LOGPROBS_BYTES_MAX : 0;
  const perToken = BYTES_PER_TOKEN_MAX + logprobsBytes;
  const bytes = RETURN_OVERHEAD_BYTES + 2 * choices * maxTokens * perToken;
  return Math.min(bytes, Math.ceil((RESULT_BYTES_MAX * 4) / 3));
}

/**
 * Check 1 of step 7, the part about content: the result is of the model, the seed and within the
 * bounds that were asked for. The hash and signature are checked before (protocol/prove.ts,
 * crypto/prove.ts). It can't tell whether the computation was honest: sampling does that.
 *
 * @param isCancelled whether the requester cancelled this attempt: only then may it be cut short.
 * @returns the code of the first failure, or null.
 */
export function checkResult(
  result: InferenceResult,
  expected: Expectation,
  isCancelled = false,
): Extract<ErrorCode, 'poe.result_invalid'> | null {
  const { parameters } = expected;
  const { choices, usage } = result;
  const fits =
    choices.length === (parameters.choices ?? 1) &&
    result.modelDigest === expected.modelDigest &&
    result.seed === expected.seed &&
    usage.promptTokens <= promptTokensMax(expected.payloadBytes) &&
    choices.every((choice) => fitsAlone(choice, parameters, isCancelled)) &&
    addsUp(result, parameters.maxTokens);
  return fits ? null : 'poe.result_invalid';
}

type Choice = InferenceResult['choices'][number];

function fitsAlone(
  { tokenIds, finishReason, logprobs }: Choice,
  { maxTokens, features = [] }: RequestParameters,
  isCancelled: boolean,
): boolean {
  return (
    (tokenIds === undefined || tokenIds.length <= maxTokens) &&
    // `length` is only true at the bound, and nobody but the requester may cut an answer short.
    (finishReason !== 'length' || tokenIds === undefined || tokenIds.length === maxTokens) &&
    (finishReason !== 'cancelled' || isCancelled) &&
    (logprobs !== undefined) === features.includes('logprobs') &&
    (logprobs === undefined || logprobs.length <= (tokenIds?.length ?? maxTokens))
  );
}

/** Token ids are told of all choices or of none; without them the sum has to be a possible one. */
function addsUp({ choices, usage: { completionTokens } }: InferenceResult, maxTokens: number) {
  const ids = choices.flatMap(({ tokenIds }) => tokenIds ?? []);
  if (choices.every(({ tokenIds }) => tokenIds !== undefined))
    return ids.length === completionTokens;
  const full = choices.filter(({ finishReason }) => finishReason === 'length').length;
  return (
    choices.every(({ tokenIds }) => tokenIds === undefined) &&
    completionTokens >= full * maxTokens &&
    completionTokens <= choices.length * maxTokens
  );
}

/**
 * The deadline part of check 1: a return that is late by its node's own times, though it came
 * within the outer limit, which allows for what passes before decrypt. That limit is what bounds a
 * node whose times claim less than there was.
 */
export function checkTimes(
  { decryptedAtMs, finishedAtMs }: Pick<NodeReturn, 'decryptedAtMs' | 'finishedAtMs'>,
  { deadlineSeconds }: Pick<RequestParameters, 'deadlineSeconds'>,
): Extract<ErrorCode, 'node.deadline_exceeded'> | null {
  const isLate = finishedAtMs - decryptedAtMs > deadlineSeconds * 1_000;
  return isLate ? 'node.deadline_exceeded' : null;
}

/**
 * The stream part of check 1: a node can't stream one text and commit to another. A stream that
 * broke off is a prefix of the result; one that ended has its digest.
 *
 * @param relayed null when nobody saw frames of this attempt.
 */
export function checkStream(
  result: InferenceResult,
  relayed: Relayed | null,
): Extract<ErrorCode, 'poe.stream_mismatch'> | null {
  if (relayed === null) return null;
  const text = result.choices[0]?.text ?? '';
  if (!text.startsWith(relayed.text)) return 'poe.stream_mismatch';
  if (!relayed.ended) return null;
  const same = text === relayed.text && result.streamDigest === relayed.streamDigest;
  return same ? null : 'poe.stream_mismatch';
}

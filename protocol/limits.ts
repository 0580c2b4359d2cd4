import type { ErrorCode, ErrorMetadata } from './errors.ts';
import type { BudgetPeriod } from './keys.ts';

/** What an API key may be limited to. */
export type KeyLimit = 'budget' | 'requests_per_minute' | 'tokens_per_minute' | 'concurrency';

/**
 * A key's limits (null: none) and what is used of them, as they were when a request was admitted
 * or refused. Money is decimal wei.
 */
export interface KeyState {
  readonly requestsPerMinute: number | null;
  readonly tokensPerMinute: number | null;
  readonly concurrency: number | null;
  readonly budgetWei: string | null;
  readonly budgetPeriod: BudgetPeriod;
  readonly inFlight: number;
  /** Spent in this period, and reserved now. */
  readonly usedWei: string;
  readonly windowRequests: number;
  readonly windowTokens: number;
  /** Until the minute ends that is counted. */
  readonly windowSeconds: number;
  /** Until the budget begins again; null: never. */
  readonly periodSeconds: number | null;
}

/**
 * What came of asking for a request to be admitted: why it was refused, if it was, and how the
 * key stands, unless there was none to look at.
 */
export type Admission =
  | { readonly refused: 'credit' }
  | { readonly refused: 'key' }
  | ({ readonly refused: KeyLimit | 'account' } & KeyState)
  | ({ readonly refused?: null } & Partial<KeyState>);

/** What a request asks of its key. */
export interface Demand {
  readonly amountWei: bigint;
  /** The prompt's upper bound and all that may be generated. */
  readonly tokens: number;
}

/** One limit by the minute, as apps are told of it. */
export interface RateLimit {
  readonly limit: number;
  readonly remaining: number;
  /** Until all of it is there again. */
  readonly reset_seconds: number;
}

/** Those of a key that it has. */
export interface RateLimits {
  readonly requests?: RateLimit;
  readonly tokens?: RateLimit;
}

const REFUSALS: Readonly<Record<NonNullable<Admission['refused']>, ErrorCode>> = {
  credit: 'receive.insufficient_credit',
  key: 'receive.unauthorized',
  account: 'receive.credit_account_forbidden',
  budget: 'receive.budget_exhausted',
  requests_per_minute: 'receive.rate_limited',
  tokens_per_minute: 'receive.rate_limited',
  concurrency: 'receive.rate_limited',
};
/** When one of the requests ends that are in flight isn't known. */
const CONCURRENCY_RETRY_SECONDS = 1;

/** Why a request is refused, for people and for programs. */
export interface Refusal {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly metadata?: ErrorMetadata;
}

/**
 * What the caller is told of a refusal.
 *
 * `metadata` has `limit` (which one), `maximum`, `remaining`, `reset_seconds` (null: waiting alone
 * doesn't help, or nobody knows how long), `retry_after_seconds` (null: never) and `rate_limits`.
 */
export function refusalOf(
  admission: Exclude<Admission, { readonly refused?: null }>,
  { amountWei, tokens }: Demand,
): Refusal {
  const code = REFUSALS[admission.refused];
  if (admission.refused === 'credit') return { code, detail: `Needed: ${amountWei} wei.` };
  if (admission.refused === 'key' || admission.refused === 'account') return { code, detail: '' };
  const { refused } = admission;
  const limits = rateLimitsOf(admission);
  const told = (limit: Told): Refusal => ({
    code,
    detail: `${limit.detail} ${waitText(limit)}`.trimEnd(),
    metadata: {
      limit: refused,
      maximum: limit.maximum,
      remaining: limit.remaining,
      reset_seconds: limit.resetSeconds,
      retry_after_seconds: limit.retryAfterSeconds,
      ...(limits ? { rate_limits: limits } : {}),
    },
  });
  if (refused === 'budget') return told(budgetTold(admission, amountWei));
  if (refused === 'concurrency')
    return told({
      detail: `It has ${admission.inFlight} requests in flight, and may have no more.`,
      maximum: String(admission.concurrency),
      remaining: '0',
      resetSeconds: null,
      retryAfterSeconds: CONCURRENCY_RETRY_SECONDS,
    });
  const isTokens = refused === 'tokens_per_minute';
  const {
    limit = 0,
    remaining = 0,
    reset_seconds: seconds = 0,
  } = (isTokens ? limits?.tokens : limits?.requests) ?? {};
  const fits = !isTokens || tokens <= limit;
  const asked = isTokens ? `; this request may take ${tokens} tokens` : '';
  return told({
    detail: `${remaining} of ${limit} ${isTokens ? 'tokens' : 'requests'} a minute are left${asked}.`,
    maximum: String(limit),
    remaining: String(remaining),
    resetSeconds: seconds,
    retryAfterSeconds: fits ? seconds : null,
  });
}

interface Told {
  readonly detail: string;
  readonly maximum: string;
  readonly remaining: string;
  readonly resetSeconds: number | null;
  readonly retryAfterSeconds: number | null;
}

function budgetTold({ budgetWei, usedWei, periodSeconds }: KeyState, amountWei: bigint): Told {
  const maximum = BigInt(budgetWei ?? 0);
  const left = maximum - BigInt(usedWei);
  const resetSeconds = periodSeconds === null ? null : Math.max(1, Math.ceil(periodSeconds));
  return {
    detail: `${left < 0n ? 0n : left} of ${maximum} wei are left; needed: ${amountWei} wei.`,
    maximum: maximum.toString(),
    remaining: (left < 0n ? 0n : left).toString(),
    resetSeconds,
    retryAfterSeconds: amountWei <= maximum ? resetSeconds : null,
  };
}

function waitText({ resetSeconds, retryAfterSeconds }: Told): string {
  if (retryAfterSeconds === null && resetSeconds !== null) return 'It never fits: ask for less.';
  return resetSeconds === null ? '' : `It begins again in ${resetSeconds} s.`;
}

/** The limits by the minute that a key has; undefined without any. */
export function rateLimitsOf(state: Partial<KeyState>): RateLimits | undefined {
  const { requestsPerMinute, tokensPerMinute, windowRequests, windowTokens } = state;
  const seconds = Math.max(1, Math.ceil(state.windowSeconds ?? 0));
  const one = (limit: number, used = 0): RateLimit => ({
    limit,
    remaining: Math.max(0, limit - used),
    reset_seconds: used === 0 ? 0 : seconds,
  });
  const limits = {
    ...(requestsPerMinute ? { requests: one(requestsPerMinute, windowRequests) } : {}),
    ...(tokensPerMinute ? { tokens: one(tokensPerMinute, windowTokens) } : {}),
  };
  return Object.keys(limits).length > 0 ? limits : undefined;
}

/** As headers, by OpenAI's names and in its formats. */
export function rateLimitHeaders(limits: RateLimits): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {};
  for (const name of ['requests', 'tokens'] as const) {
    const limit = limits[name];
    if (!limit) continue;
    headers[`x-ratelimit-limit-${name}`] = String(limit.limit);
    headers[`x-ratelimit-remaining-${name}`] = String(limit.remaining);
    headers[`x-ratelimit-reset-${name}`] = durationText(limit.reset_seconds);
  }
  return headers;
}

/** Whole seconds as Go and OpenAI write them: `6s`, `1m0s`. */
function durationText(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  return minutes > 0 ? `${minutes}m${seconds % 60}s` : `${seconds}s`;
}

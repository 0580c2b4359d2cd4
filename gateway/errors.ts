import type { FastifyReply } from 'fastify';
import { capacityMessage, type CapacityDetail } from '../protocol/capacity.ts';
import { CodedError, errorDefinition, type ErrorCode } from '../protocol/errors.ts';
import { rateLimitHeaders, type RateLimits } from '../protocol/limits.ts';

/** A malformed request, with the field that OpenAI's error object calls `param`. */
export class MalformedRequestError extends CodedError {
  readonly param: string | null;
  constructor(param: string, reason: string, cause?: unknown) {
    const [field, why] = [param, reason].map((text) => shortened(text));
    super('receive.malformed_request', field ? `${field}: ${why}` : why, { cause });
    this.param = field || null;
  }
}

/** What a caller wrote itself may be named in an answer, but a megabyte of it is no help. */
const ECHO_LENGTH_MAX = 300;

function shortened(text: string): string {
  return text.length > ECHO_LENGTH_MAX ? `${text.slice(0, ECHO_LENGTH_MAX)}…` : text;
}

/** OpenAI's error object. `code` is ours, or the name that apps know it by; both are stable. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
    /** Of an accepted request. */
    readonly request_id?: string;
    /** `event` has our code where `code` is another name; the rest depends on the code. */
    readonly metadata?: Readonly<Record<string, unknown>>;
  };
}

/** A failure as HTTP tells it. */
export interface ErrorResponse {
  readonly status: number;
  /** `retry-after` in whole seconds, `x-should-retry`: each where it belongs. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: ErrorBody;
}

/** Longer than that nobody is told to wait. */
export const RETRY_AFTER_SECONDS_MAX = 60;
/** What is away is usually back by then. */
const OUTAGE_SECONDS = 5;
/** Until a request that found no node by its deadline may find one. */
const CAPACITY_SECONDS = 30;

/** The failure that ended an accepted request, with what is kept of its reason. */
export function requestFailure(code: ErrorCode, detail: CapacityDetail | null = null): CodedError {
  if (detail === null || code !== 'schedule.deadline_elapsed') return new CodedError(code);
  return new CodedError(code, capacityMessage(detail), { metadata: { ...detail } });
}

/**
 * Status, headers and body for a failure.
 *
 * @param requestId of the request, once it is accepted.
 */
export function errorResponse(error: CodedError, requestId?: string): ErrorResponse {
  const { httpStatus, apiCode } = errorDefinition(error.code);
  const metadata = {
    ...(apiCode === undefined ? {} : { event: error.code }),
    ...error.metadata,
  };
  return {
    status: httpStatus,
    headers: { ...limitHeaders(error), ...retryHeaders(error) },
    body: {
      error: {
        message: error.message,
        type: errorType(error),
        param: error instanceof MalformedRequestError ? error.param : null,
        code: apiCode ?? error.code,
        ...(requestId ? { request_id: requestId } : {}),
        ...(Object.keys(metadata).length > 0 ? { metadata } : {}),
      },
    },
  };
}

/** How the key stands, if a limit of it was looked at. */
function limitHeaders({ metadata }: CodedError): Readonly<Record<string, string>> {
  const limits = metadata?.['rate_limits'] as RateLimits | undefined;
  return limits ? rateLimitHeaders(limits) : {};
}

/** The same request fails the same way again: OpenAI's SDKs would try 409 once more by default. */
function retryHeaders(error: CodedError): Record<string, string> {
  const { httpStatus } = errorDefinition(error.code);
  if (httpStatus === 429 || httpStatus === 503)
    return {
      'retry-after': String(retryAfterSeconds(error)),
      // It never fits.
      ...(error.metadata?.['retry_after_seconds'] === null ? { 'x-should-retry': 'false' } : {}),
    };
  return httpStatus < 500 && httpStatus !== 408 ? { 'x-should-retry': 'false' } : {};
}

/** From the limit's reset where it is known: `retry_after_seconds`, null for what never fits. */
function retryAfterSeconds({ code, metadata }: CodedError): number {
  const known = metadata?.['retry_after_seconds'];
  if (known === null) return RETRY_AFTER_SECONDS_MAX;
  const usual = code === 'schedule.deadline_elapsed' ? CAPACITY_SECONDS : OUTAGE_SECONDS;
  const seconds = typeof known === 'number' && known >= 0 ? Math.ceil(known) : usual;
  return Math.min(Math.max(1, seconds), RETRY_AFTER_SECONDS_MAX);
}

/** In OpenAI's vocabulary. */
function errorType({ code }: CodedError): string {
  const { httpStatus, apiCode } = errorDefinition(code);
  if (apiCode === 'capacity_unavailable') return 'capacity';
  if (httpStatus === 401) return 'authentication_error';
  if (httpStatus === 402) return 'insufficient_quota';
  if (httpStatus === 403) return 'permission_error';
  if (httpStatus === 404) return 'not_found_error';
  if (httpStatus === 429) return 'rate_limit_error';
  return httpStatus < 500 ? 'invalid_request_error' : 'server_error';
}

const repeated = new WeakSet<FastifyReply>();

/**
 * Says that the caller's next try would be answered alike, as for an accepted request that was made
 * with an Idempotency-Key: if this one fails, SDKs are told not to ask again.
 */
export function answersRepeat(reply: FastifyReply): void {
  repeated.add(reply);
}

/** Sends a failure; of a request that was accepted, with its id. */
export function sendError(reply: FastifyReply, error: CodedError): FastifyReply {
  const requestId = reply.getHeader('x-request-id');
  const { status, headers, body } = errorResponse(
    error,
    typeof requestId === 'string' ? requestId : undefined,
  );
  const final = requestId !== undefined && repeated.has(reply);
  return reply
    .code(status)
    .headers({ ...headers, ...reply.getHeaders(), ...(final ? { 'x-should-retry': 'false' } : {}) })
    .send(body);
}

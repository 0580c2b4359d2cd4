import { ERRORS, type ErrorCode } from './errors.ts';
import type { AcceptedInference } from './receive.ts';

/** How often a unit may be dispatched (design §5; checks aren't counted). */
export const DISPATCH_BUDGET = {
  /** Spec §3.4: a unit whose node missed the deadline is re-dispatched once. */
  deadlineMissesMax: 1,
  poeFaultsMax: 2,
  otherLossesMax: 2,
  dispatchesMax: 5,
} as const;

/** Attempts at one unit, checks of its result included: none has a higher number. */
export const DISPATCH_NUMBER_MAX = 12;

/** What a node says when the request itself can't be run; the payload is sealed, so it knows. */
const REFUSALS: readonly ErrorCode[] = [
  'dispatch.envelope_rejected',
  'execute.context_exceeded',
  'execute.invalid_request',
];

/** Whether a node says with this code that the request itself can't be run. */
export function isRefusal(code: ErrorCode): boolean {
  return REFUSALS.includes(code);
}

/** What to do about an attempt that didn't yield an acceptable return. */
export type Verdict =
  { readonly kind: 'redispatch' } | { readonly kind: 'end'; readonly state: 'failed' | 'rejected' };

/**
 * Decides after each failed attempt. `failures` has one code per dispatch so far, in order; the
 * last is the one to decide on. A node's word alone never ends a request: a refusal for bad input
 * counts once a second node agrees.
 *
 * @param othersExist whether the pool has a node, free or not, that could be asked next. Without
 *   one nobody can contradict a refusal, and waiting for a second opinion would be waiting in vain.
 */
export function afterFailure(failures: readonly ErrorCode[], othersExist = true): Verdict {
  const last = failures.at(-1);
  if (last === undefined) throw new RangeError('no attempt has failed');
  const definition = ERRORS[last];
  if (definition.recovery !== 'redispatch') return { kind: 'end', state: 'failed' };
  if (isRefusal(last) && (!othersExist || count(failures, (code) => code === last) > 1))
    return { kind: 'end', state: 'rejected' };
  const exhausted =
    failures.length >= DISPATCH_BUDGET.dispatchesMax ||
    count(failures, isDeadlineMiss) > DISPATCH_BUDGET.deadlineMissesMax ||
    count(failures, isPoeFault) > DISPATCH_BUDGET.poeFaultsMax ||
    count(failures, isOtherLoss) > DISPATCH_BUDGET.otherLossesMax;
  return exhausted ? { kind: 'end', state: 'failed' } : { kind: 'redispatch' };
}

/**
 * Until when a unit may wait for its next node after a failed attempt: as long again as at first,
 * and never less than was left. A node that missed the deadline has used all of it up, and the
 * re-dispatch that the specification promises must not depend on a node that is free just then.
 *
 * @param failedAtMs when the attempt failed.
 * @returns milliseconds since the epoch.
 */
export function redispatchDeadlineMs(
  { deadlineAtMs, parameters }: Pick<AcceptedInference, 'deadlineAtMs' | 'parameters'>,
  failedAtMs: number,
): number {
  return Math.max(deadlineAtMs, failedAtMs + parameters.deadlineSeconds * 1_000);
}

function isDeadlineMiss(code: ErrorCode): boolean {
  return code === 'node.deadline_exceeded';
}

/** Whether a return or its proof was faulty. */
export function isPoeFault(code: ErrorCode): boolean {
  return code.startsWith('poe.');
}

function isOtherLoss(code: ErrorCode): boolean {
  return !isDeadlineMiss(code) && !isPoeFault(code);
}

function count(codes: readonly ErrorCode[], test: (code: ErrorCode) => boolean): number {
  return codes.filter(test).length;
}

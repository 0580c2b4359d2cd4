import { ERRORS, type ErrorCode } from './errors.ts';

/** How often a unit may be dispatched (design §5; checks aren't counted). */
export const DISPATCH_BUDGET = {
  /** Spec §3.4: a unit whose node missed the deadline is re-dispatched once. */
  deadlineMissesMax: 1,
  poeFaultsMax: 2,
  otherLossesMax: 2,
  dispatchesMax: 5,
} as const;

/** What a node says when the request itself can't be run; the payload is sealed, so it knows. */
const REFUSALS: readonly ErrorCode[] = [
  'dispatch.envelope_rejected',
  'execute.context_exceeded',
  'execute.invalid_request',
];

/** What to do about an attempt that didn't yield an acceptable return. */
export type Verdict =
  { readonly kind: 'redispatch' } | { readonly kind: 'end'; readonly state: 'failed' | 'rejected' };

/**
 * Decides after each failed attempt. `failures` has one code per dispatch so far, in order; the
 * last is the one to decide on. A node's word alone never ends a request: even a refusal for bad
 * input only counts once a second node agrees.
 */
export function afterFailure(failures: readonly ErrorCode[]): Verdict {
  const last = failures.at(-1);
  if (last === undefined) throw new RangeError('no attempt has failed');
  const definition = ERRORS[last];
  if (definition.recovery !== 'redispatch') return { kind: 'end', state: 'failed' };
  if (REFUSALS.includes(last) && count(failures, (code) => code === last) > 1)
    return { kind: 'end', state: 'rejected' };
  const exhausted =
    failures.length >= DISPATCH_BUDGET.dispatchesMax ||
    count(failures, isDeadlineMiss) > DISPATCH_BUDGET.deadlineMissesMax ||
    count(failures, isPoeFault) > DISPATCH_BUDGET.poeFaultsMax ||
    count(failures, isOtherLoss) > DISPATCH_BUDGET.otherLossesMax;
  return exhausted ? { kind: 'end', state: 'failed' } : { kind: 'redispatch' };
}

function isDeadlineMiss(code: ErrorCode): boolean {
  return code === 'node.deadline_exceeded';
}

function isPoeFault(code: ErrorCode): boolean {
  return code.startsWith('poe.');
}

function isOtherLoss(code: ErrorCode): boolean {
  return !isDeadlineMiss(code) && !isPoeFault(code);
}

function count(codes: readonly ErrorCode[], test: (code: ErrorCode) => boolean): number {
  return codes.filter(test).length;
}

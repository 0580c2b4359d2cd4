/** What a key may be used for: requests are made, things are looked at, keys are managed. */
export const SCOPES = ['inference', 'read', 'keys'] as const;
export type Scope = (typeof SCOPES)[number];

/** After how long a budget is there anew, by UTC; one of `total` never is. Longest last. */
export const BUDGET_PERIODS = ['day', 'month', 'total'] as const;
export type BudgetPeriod = (typeof BUDGET_PERIODS)[number];

/** What a key may use at most; null is no limit. */
export interface KeyLimits {
  readonly budgetWei: bigint | null;
  readonly budgetPeriod: BudgetPeriod;
  readonly requestsPerMinute: number | null;
  /** Of prompt and completion. */
  readonly tokensPerMinute: number | null;
  /** Requests at once. */
  readonly concurrency: number | null;
}

/** A key that somebody asks for. */
export interface KeySpec {
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** From its making on; null: it doesn't end by itself. */
  readonly expiresInSeconds: number | null;
  readonly limits: KeyLimits;
}

/** What there is to know of a key before another one is handed out by it, or changed. */
export interface KeyRights {
  readonly id: string;
  readonly scopes: readonly Scope[];
  readonly expiresAt: Date | null;
  readonly isAdmin: boolean;
  readonly limits: KeyLimits;
}

/** A key's secret begins like that. */
export const KEY_PREFIX = 'plx-';

export const NAME_CHARACTERS_MAX = 64;
export const KEY_SECONDS_MAX = 10 * 365 * 86_400;
export const OVERLAP_SECONDS_MAX = 86_400;

/**
 * Whether a key may hand out another one: give it to somebody, who then can do what it can. What
 * it may not hand out is more than it has. A key with limits hands out none but itself: each other
 * would have the limits once more, and together they would have none.
 *
 * @returns undefined if it may, else why not.
 */
export function handOutRefusal(
  by: KeyRights,
  key: Omit<KeyRights, 'id'> & { readonly id?: string },
): string | undefined {
  if (key.isAdmin && !by.isAdmin) return 'Only an admin key may do that with an admin key.';
  const more = key.scopes.filter((scope) => !by.scopes.includes(scope));
  if (more.length > 0) return `It lacks ${more.join(', ')} itself.`;
  if (by.expiresAt && (!key.expiresAt || key.expiresAt > by.expiresAt))
    return `It ends at ${by.expiresAt.toISOString()} itself.`;
  if (isLimited(by.limits) && key.id !== by.id)
    return 'It has limits, and another key would have them once more.';
  return undefined;
}

/**
 * Whether a key may give other limits to a key of its account. One with limits may only tighten
 * them, its own too. To loosen them is to hand out what the key can, once more.
 *
 * @returns undefined if it may, else why not.
 */
export function changeRefusal(
  by: KeyRights,
  key: KeyRights,
  limits: KeyLimits,
): string | undefined {
  if (key.isAdmin && !by.isAdmin) return 'Only an admin key may do that with an admin key.';
  if (isWithin(limits, key.limits)) return undefined;
  if (isLimited(by.limits))
    return 'It has limits, and may only tighten those of others and its own.';
  return handOutRefusal(by, key);
}

function isLimited(limits: KeyLimits): boolean {
  const { budgetWei, requestsPerMinute, tokensPerMinute, concurrency } = limits;
  return [budgetWei, requestsPerMinute, tokensPerMinute, concurrency].some((each) => each !== null);
}

/** Whether nothing that `inner` lets through is more than `outer` does. */
function isWithin(inner: KeyLimits, outer: KeyLimits): boolean {
  const period = (limits: KeyLimits) => BUDGET_PERIODS.indexOf(limits.budgetPeriod);
  return (
    atMost(inner.budgetWei, outer.budgetWei) &&
    // The same sum for a longer time is less.
    (outer.budgetWei === null || period(inner) >= period(outer)) &&
    atMost(inner.requestsPerMinute, outer.requestsPerMinute) &&
    atMost(inner.tokensPerMinute, outer.tokensPerMinute) &&
    atMost(inner.concurrency, outer.concurrency)
  );
}

function atMost(inner: bigint | number | null, outer: bigint | number | null): boolean {
  return outer === null || (inner !== null && inner <= outer);
}

import { z } from 'zod';
import {
  BUDGET_PERIODS,
  KEY_SECONDS_MAX,
  NAME_CHARACTERS_MAX,
  SCOPES,
  type KeyLimits,
  type KeySpec,
} from '../protocol/keys.ts';
import { listOf } from './lists.ts';

const COUNT_MAX = 0x7fff_ffff;

const name = z
  .string()
  .trim()
  .min(1, 'is missing')
  .max(NAME_CHARACTERS_MAX)
  .regex(/^[^\p{C}\p{Zl}\p{Zp}]*$/u, 'has control characters');
const budget = z
  .string()
  .regex(/^\d{1,60}$/, 'is not wei as a string of digits')
  .transform(BigInt)
  .nullable();
const count = z.int().min(1).max(COUNT_MAX).nullable();

const limits = z.strictObject({
  budget_wei: budget.optional(),
  budget_period: z.enum(BUDGET_PERIODS).optional(),
  requests_per_minute: count.optional(),
  tokens_per_minute: count.optional(),
  concurrency: count.optional(),
});

/** Fields of a body that asks for a key. */
export const specFields = {
  name,
  scopes: listOf(z.enum(SCOPES), { min: 1, max: SCOPES.length })
    .refine((scopes) => new Set(scopes).size === scopes.length, 'names one twice')
    .default(['inference', 'read']),
  expires_in_seconds: z.int().min(1).max(KEY_SECONDS_MAX).nullish(),
  limits: limits.default({}),
};

export const specBody = z.strictObject(specFields);

/** What is given replaces what was; null takes a limit away. */
export const changeBody = z.strictObject({ name: name.optional(), limits: limits.default({}) });

const NO_LIMITS: KeyLimits = {
  budgetWei: null,
  budgetPeriod: 'month',
  requestsPerMinute: null,
  tokensPerMinute: null,
  concurrency: null,
};

export function specOf({
  name,
  scopes,
  expires_in_seconds: expiresInSeconds = null,
  limits,
}: z.infer<typeof specBody>): KeySpec {
  // In one order, whatever theirs was, so that a statement has one form.
  const ordered = SCOPES.filter((scope) => scopes.includes(scope));
  return { name, scopes: ordered, expiresInSeconds, limits: limitsOf(NO_LIMITS, limits) };
}

export function limitsOf(before: KeyLimits, given: z.infer<typeof limits>): KeyLimits {
  const {
    budget_wei: budgetWei = before.budgetWei,
    budget_period: budgetPeriod = before.budgetPeriod,
    requests_per_minute: requestsPerMinute = before.requestsPerMinute,
    tokens_per_minute: tokensPerMinute = before.tokensPerMinute,
    concurrency = before.concurrency,
  } = given;
  return { budgetWei, budgetPeriod, requestsPerMinute, tokensPerMinute, concurrency };
}

/** When a key that is made now ends. */
export function endOf(spec: KeySpec, now: Date): Date | null {
  const { expiresInSeconds } = spec;
  return expiresInSeconds === null ? null : new Date(now.getTime() + expiresInSeconds * 1_000);
}

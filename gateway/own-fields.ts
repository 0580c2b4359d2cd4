import { z } from 'zod';
import { CodedError } from '../protocol/errors.ts';

const DELIVERIES = ['early', 'validated', 'strict'] as const;

/** Fields of this network's own, that every route has which takes a request. */
export const ownFields = {
  /** Whose credit pays: the key's own account. */
  credit_account: z.string().min(1).max(200).nullish(),
  /** What has to be known before the answer is given; `delivery` is its older name. */
  verification: z.enum(DELIVERIES).nullish(),
  delivery: z.enum(DELIVERIES).nullish(),
  /** What becomes of the request when the caller hangs up. */
  on_disconnect: z.enum(['cancel', 'continue']).nullish(),
};

interface OwnFields {
  readonly credit_account?: string | null | undefined;
  readonly verification?: (typeof DELIVERIES)[number] | null | undefined;
  readonly delivery?: (typeof DELIVERIES)[number] | null | undefined;
  readonly on_disconnect?: OnDisconnect | null | undefined;
}

export type OnDisconnect = 'cancel' | 'continue';

/** Whether `verification` and its older name aren't both there. */
export function isVerificationOnce({ verification, delivery }: OwnFields): boolean {
  return (verification ?? null) === null || (delivery ?? null) === null;
}

/** What was asked for by either name. */
export function askedVerification({ verification, delivery }: OwnFields) {
  return verification ?? delivery ?? null;
}

/**
 * By default whoever hangs up is served no further, unless an Idempotency-Key says that the call
 * may come again.
 */
export function onDisconnectOf(
  { on_disconnect: asked }: OwnFields,
  idempotencyKey: string | null,
): OnDisconnect {
  return asked ?? (idempotencyKey === null ? 'cancel' : 'continue');
}

/** @throws CodedError `receive.credit_account_forbidden` */
export function assertOwnCredit({ credit_account: asked }: OwnFields, accountId: string): void {
  // Addresses are told apart by their digits; upper case in them is a checksum.
  if ((asked ?? accountId).toLowerCase() !== accountId.toLowerCase())
    throw new CodedError('receive.credit_account_forbidden');
}

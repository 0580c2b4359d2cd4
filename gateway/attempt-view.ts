import type { RequestCost, TimedAttempt } from '../prisma/attempts.ts';
import type { RequestRecord } from '../prisma/requests.ts';
import { outcomeMessage } from '../protocol/explain.ts';

/**
 * Who was asked, when, and what came of it. Checks are told once the request has ended: until then
 * nobody who might talk to a node knows which of its work is one.
 */
export function attemptViews(
  attempts: readonly TimedAttempt[],
  { finishedAt }: Pick<RequestRecord, 'finishedAt'>,
) {
  const hasEnded = finishedAt !== null;
  return attempts
    .filter(({ isCheck }) => hasEnded || !isCheck)
    .map((attempt) => ({
      dispatch: attempt.dispatch,
      node: attempt.nodeId,
      node_name: attempt.nodeName,
      reserved_at: attempt.reservedAt.toISOString(),
      decrypted_at: attempt.decryptedAt?.toISOString() ?? null,
      executed_at: attempt.executedAt?.toISOString() ?? null,
      decided_at: attempt.decidedAt?.toISOString() ?? null,
      outcome: attempt.outcome,
      is_check: hasEnded ? attempt.isCheck : null,
      message: outcomeMessage(attempt.outcome, hasEnded),
    }));
}

/** What a request costs, and how that is made up. */
export function costView(record: RequestRecord, cost: RequestCost | undefined) {
  return {
    reserved_wei: record.reservedWei,
    charged_wei: record.chargedWei,
    refunded_wei: record.refundedWei,
    prompt_tokens: cost?.promptTokens ?? null,
    completion_tokens: cost?.completionTokens ?? null,
    price_version: cost?.priceVersion ?? null,
    prompt_price_wei: cost?.promptPriceWei ?? null,
    completion_price_wei: cost?.completionPriceWei ?? null,
  };
}

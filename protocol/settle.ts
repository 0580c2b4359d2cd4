import type { FinalState } from './lifecycle.ts';
import type { AcceptedInference } from './receive.ts';

/** Prices of one model, in wei of $PRLX per token. */
export interface TokenPrice {
  readonly promptWei: bigint;
  readonly completionWei: bigint;
}

/** Tokens that a request used or may use. */
export interface TokenUsage {
  readonly promptTokens: number;
  readonly completionTokens: number;
}

/** What tokens cost: exact, in wei. */
export function priceWei(usage: TokenUsage, price: TokenPrice): bigint {
  return (
    BigInt(usage.promptTokens) * price.promptWei +
    BigInt(usage.completionTokens) * price.completionWei
  );
}

/**
 * What delivered work costs: by its usage, which is the node's claim, and so never more than what
 * was reserved for the upper bound.
 *
 * @param accepted prices per token and the reservation, in decimal wei.
 */
export function dueWei(
  usage: TokenUsage,
  { price, reservedWei }: Pick<AcceptedInference, 'price' | 'reservedWei'>,
): bigint {
  const { promptWei, completionWei } = price;
  const usedWei = priceWei(usage, {
    promptWei: BigInt(promptWei),
    completionWei: BigInt(completionWei),
  });
  return usedWei < BigInt(reservedWei) ? usedWei : BigInt(reservedWei);
}

/** How a reservation ends: `captureWei + releaseWei` is always the whole of it. */
export interface Settlement {
  readonly captureWei: bigint;
  readonly releaseWei: bigint;
}

/**
 * Step 9, the requester's side: delivered work is captured, the rest released; failures are free.
 * Usage is the node's claim, so the capture never exceeds what was reserved for the upper bound.
 */
export function settlement(state: FinalState, reservedWei: bigint, usedWei: bigint): Settlement {
  const dueWei = state === 'completed' ? usedWei : 0n;
  const captureWei = dueWei < reservedWei ? dueWei : reservedWei;
  return { captureWei, releaseWei: reservedWei - captureWei };
}

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

/**
 * What of a cancelled attempt is charged: no more completion tokens than frames of text reached the
 * requester, and the prompt only if any did. Without a stream nothing did, so it is free.
 *
 * @param usage what the node's proof commits to, which is its claim.
 * @param deltaFrames how many frames of text were passed on to whoever asked for the stream.
 */
export function cancelledUsage(usage: TokenUsage, deltaFrames: number): TokenUsage {
  if (deltaFrames <= 0) return { promptTokens: 0, completionTokens: 0 };
  const { promptTokens, completionTokens } = usage;
  return { promptTokens, completionTokens: Math.min(completionTokens, deltaFrames) };
}

/** How a reservation ends: `captureWei + releaseWei` is always the whole of it. */
export interface Settlement {
  readonly captureWei: bigint;
  readonly releaseWei: bigint;
}

/** Work that ends in another state is free. */
export const CHARGED: readonly FinalState[] = ['completed', 'cancelled'];

/**
 * Step 9, the requester's side: delivered work is captured, the rest released; failures are free.
 * Usage is the node's claim, so the capture never exceeds what was reserved for the upper bound.
 *
 * @param usedWei the price of what was delivered; of a cancelled request, of `cancelledUsage`.
 */
export function settlement(state: FinalState, reservedWei: bigint, usedWei: bigint): Settlement {
  const dueWei = CHARGED.includes(state) ? usedWei : 0n;
  const captureWei = dueWei < reservedWei ? dueWei : reservedWei;
  return { captureWei, releaseWei: reservedWei - captureWei };
}

import { HARDWARE_TIER_MAX, PRIORITY_KEYS, type Priority } from './receive.ts';
import type { TokenPrice } from './settle.ts';

/** What tokens cost for one hardware tier and priority. */
export interface MatrixPrice extends TokenPrice {
  readonly hardwareTier: number;
  readonly priority: Priority;
}

export const PRIORITIES = Object.keys(PRIORITY_KEYS) as readonly Priority[];
export const TIERS = Array.from({ length: HARDWARE_TIER_MAX }, (_, index) => index + 1);

/** Factors have up to four decimals. */
const FACTOR = /^(\d{1,6})(?:\.(\d{1,4}))?$/;
const FACTOR_ONE = 10_000n;

/** What multiplies a base price, as decimals: of tiers 1 to 5, and of priorities. */
export interface PriceFactors {
  readonly tiers: readonly string[];
  readonly priorities: Readonly<Record<Priority, string>>;
}

export const EQUAL_FACTORS: PriceFactors = {
  tiers: TIERS.map(() => '1'),
  priorities: { standard: '1', expedited: '1', urgent: '1' },
};

/**
 * A price for each tier and priority, from one base price. Exact: what isn't whole wei is rounded
 * up, once, at the end.
 *
 * @throws RangeError for what isn't a factor.
 */
export function priceMatrix(base: TokenPrice, factors: PriceFactors): MatrixPrice[] {
  return TIERS.flatMap((hardwareTier) =>
    PRIORITIES.map((priority) => {
      const factor =
        factorOf(factors.tiers[hardwareTier - 1] ?? '') * factorOf(factors.priorities[priority]);
      const times = (wei: bigint) => divideUp(wei * factor, FACTOR_ONE * FACTOR_ONE);
      return {
        hardwareTier,
        priority,
        promptWei: times(base.promptWei),
        completionWei: times(base.completionWei),
      };
    }),
  );
}

/** Whether a text is a factor: digits, with up to four decimals. */
export function isFactor(text: string): boolean {
  return FACTOR.test(text);
}

/** Whether each tier and priority is there once. */
export function isWhole(matrix: readonly Pick<MatrixPrice, 'hardwareTier' | 'priority'>[]) {
  const places = new Set(matrix.map(({ hardwareTier, priority }) => `${hardwareTier} ${priority}`));
  const size = TIERS.length * PRIORITIES.length;
  return matrix.length === size && places.size === size;
}

function factorOf(text: string): bigint {
  const [, whole, decimals = ''] = FACTOR.exec(text) ?? [];
  if (whole === undefined) throw new RangeError(`${text} is not a factor`);
  return BigInt(whole) * FACTOR_ONE + BigInt(decimals.padEnd(4, '0'));
}

function divideUp(dividend: bigint, divisor: bigint): bigint {
  return (dividend + divisor - 1n) / divisor;
}

import { z } from 'zod';

/**
 * An amount of wei as a decimal string, exact.
 *
 * @param least the smallest that is taken.
 * @param digitsMax of the largest: what is added up of it has to fit the ledger's 78 digits.
 */
export function weiAmount(least: bigint, digitsMax: number) {
  return z
    .string()
    .regex(/^(?:0|[1-9]\d*)$/, 'is not whole wei as a decimal string')
    .max(digitsMax)
    .transform(BigInt)
    .refine((wei) => wei >= least, `is less than ${least}`);
}

import { z } from 'zod';

/** Any time that fits a database timestamp; a node's clock may be wrong, not absurd. */
const epochMs = z
  .number()
  .min(0)
  .max(Date.UTC(2100, 0, 1));

/**
 * What a node's return has around its sealed result. `poe` and `scheme` stay unknown here: a
 * missing one and an unknown one have codes of their own (protocol/prove.ts).
 */
export const nodeReturnSchema = z.object({
  scheme: z.unknown().optional(),
  poe: z.unknown().optional(),
  signature: z.unknown().optional(),
  sealedResult: z.looseObject({ ciphertext: z.string() }),
  decryptedAtMs: epochMs,
  finishedAtMs: epochMs,
});

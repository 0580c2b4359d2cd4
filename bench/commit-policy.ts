import { Sampling } from '../activities/sampling.ts';
import { loadOrCreateWrapRing } from '../crypto/key-files.ts';
import type { Database } from '../prisma/client.ts';
import type { SamplingPolicy } from '../protocol/sampling.ts';

/** Nothing is checked, new nodes neither: what is measured is the way of a request alone. */
export const UNCHECKED: SamplingPolicy = { v: 1, ratesPpm: {}, floorPpm: 0, probationUnits: 0 };

/** Longer than anything here runs. */
const EPOCH_SECONDS = 86_400;

/**
 * Publishes the first epochs by a policy that the product itself would refuse, before a coordinator
 * publishes some by its own.
 *
 * @param keys the coordinator's key directory.
 */
export async function commitPolicy(
  policy: SamplingPolicy,
  database: Database,
  keys: string,
): Promise<void> {
  const ring = await loadOrCreateWrapRing(keys, 'sampling');
  const onSecretLost = (epoch: number) => {
    throw new Error(`The secret of epoch ${epoch} is of another key.`);
  };
  const options = { database, ring, policy, epochSeconds: EPOCH_SECONDS, onSecretLost };
  await new Sampling(options).refresh();
}

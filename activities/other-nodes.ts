import type { Database } from '../prisma/client.ts';
import type { NodeId } from '../protocol/ids.ts';
import type { AcceptedInference } from '../protocol/receive.ts';

/**
 * Whether the pool has a node that could be asked next, now or later: one of the weights, class and
 * tier that were asked for, which the unit hasn't had. Busy and silent ones count, since they may
 * come back; removed ones don't.
 */
export async function othersExist(
  database: Database,
  { parameters, modelDigest }: Pick<AcceptedInference, 'parameters' | 'modelDigest'>,
  usedNodes: readonly NodeId[],
): Promise<boolean> {
  const [row] = await database.$queryRaw<{ exist: boolean }[]>`
    SELECT EXISTS (
      SELECT FROM node
      WHERE status <> 'removed' AND model_digest = ${modelDigest}
        AND tier >= ${parameters.hardwareTier}
        AND ${parameters.workloadClass} = ANY (workload_classes)
        AND NOT (id = ANY (${[...usedNodes]}::text[]))) AS exist`;
  return row?.exist ?? false;
}

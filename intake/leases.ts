import { releaseSlots, type AttemptKey } from '../prisma/pool.ts';
import { shortId } from '../protocol/ids.ts';
import type { BackgroundDependencies } from './background.ts';

/**
 * Frees slots whose lease ran out after their attempt was decided or their request ended: Schedule
 * takes such a slot anyway, and here nothing keeps saying that it is somebody's. A reservation of a
 * request that goes on is left to its run, which renews it when it takes note of it.
 *
 * @returns how many were freed, each once.
 */
export async function freeLapsed({
  database,
  log,
}: Pick<BackgroundDependencies, 'database' | 'log'>): Promise<number> {
  const lapsed = await database.$queryRaw<AttemptKey[]>`
    SELECT slot.unit_id AS "unitId", slot.dispatch FROM slot
    WHERE lease_until < now()
      AND (EXISTS (SELECT FROM dispatch AS attempt
                   WHERE attempt.unit_id = slot.unit_id AND attempt.dispatch = slot.dispatch
                     AND outcome IS NOT NULL)
           OR EXISTS (SELECT FROM request
                      WHERE request.id = slot.unit_id AND finished_at IS NOT NULL))`;
  const freed = await releaseSlots(database, lapsed);
  for (const { unitId, dispatch } of freed)
    log.info({ unit: shortId(unitId), dispatch }, 'sweeper // a lapsed lease is over');
  return freed.length;
}

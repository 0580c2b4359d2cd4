import { z } from 'zod';
import { isUnitId, type UnitId } from './ids.ts';
import { RUNNING_MAX, type Heartbeat } from './presence.ts';

/** A heartbeat as it comes from outside. */
export const heartbeatSchema: z.ZodType<Heartbeat> = z.strictObject({
  ready: z.boolean(),
  running: z
    .array(
      z.strictObject({
        unitId: z.custom<UnitId>(isUnitId, 'not a unit id'),
        dispatch: z.int().min(1).max(0xffff_ffff),
      }),
    )
    .max(RUNNING_MAX),
});

import { z } from 'zod';
import { isUnitId, type UnitId } from './ids.ts';
import { RUNNING_MAX, type Challenge, type Heartbeat } from './presence.ts';

/** As in the database: an INTEGER of PostgreSQL. */
const HEARTBEAT_SEQUENCE_MAX = 2 ** 31 - 1;
const NONCE_CHARACTERS_MAX = 64;

/** A heartbeat as it comes from outside. */
export const heartbeatSchema: z.ZodType<Heartbeat & Challenge> = z.strictObject({
  ready: z.boolean(),
  running: z
    .array(
      z.strictObject({
        unitId: z.custom<UnitId>(isUnitId, 'not a unit id'),
        dispatch: z.int().min(1).max(0xffff_ffff),
      }),
    )
    .max(RUNNING_MAX),
  sequence: z.int().min(0).max(HEARTBEAT_SEQUENCE_MAX),
  nonce: z.string().max(NONCE_CHARACTERS_MAX),
});

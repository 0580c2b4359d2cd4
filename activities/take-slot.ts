import { sql, type Database } from '../prisma/client.ts';
import { executeLimits } from '../protocol/execute.ts';
import type { NodeId } from '../protocol/ids.ts';
import type { ScheduleInput } from './schedule.ts';

/** After an execution's outer limit, until its slot is taken back from a node that said nothing. */
const LEASE_GRACE_SECONDS = 5;

/**
 * One statement, all of it or nothing: takes a slot and begins the attempt.
 *
 * @returns whether the node had a slot that nobody else holds or is just taking.
 */
export async function take(
  database: Database,
  coordinatorUrl: string,
  { unitId, dispatch, check, request }: ScheduleInput,
  nodeId: NodeId,
  isAsleep: boolean,
): Promise<boolean> {
  const waited = isAsleep ? sql`UPDATE waiting SET assigned_at = now()` : sql`DELETE FROM waiting`;
  const inserted = await database.$executeRaw`
    WITH free AS (
      SELECT slot.machine_id, slot.index FROM slot
        JOIN node ON node.machine_id = slot.machine_id AND slot.index < node.slots
      WHERE node.id = ${nodeId} AND (unit_id IS NULL OR lease_until < now())
        AND NOT EXISTS (SELECT FROM request WHERE id = ${unitId} AND finished_at IS NOT NULL)
        AND NOT EXISTS (SELECT FROM dispatch WHERE unit_id = ${unitId}
                        AND dispatch = ${dispatch} AND outcome IS NOT NULL)
      LIMIT 1 FOR UPDATE OF slot SKIP LOCKED),
    taken AS (
      UPDATE slot SET unit_id = ${unitId}, dispatch = ${dispatch},
        lease_until = now() + make_interval(secs => ${leaseSeconds(request)}::float8)
      FROM free WHERE slot.machine_id = free.machine_id AND slot.index = free.index
      RETURNING slot.machine_id, slot.index),
    filled AS (
      UPDATE node SET is_full = TRUE WHERE id IN (
        SELECT node.id FROM node JOIN taken ON node.machine_id = taken.machine_id
        WHERE NOT is_full
          AND NOT EXISTS (SELECT FROM slot
                          WHERE slot.machine_id = taken.machine_id AND slot.index < node.slots
                            AND slot.index <> taken.index
                            AND (slot.unit_id IS NULL OR slot.lease_until < now()))
        FOR NO KEY UPDATE OF node SKIP LOCKED)),
    started AS (
      UPDATE request SET status = 'running'
      WHERE id = ${unitId} AND status = 'accepted' AND EXISTS (SELECT FROM taken)),
    waited AS (${waited} WHERE unit_id = ${unitId} AND EXISTS (SELECT FROM taken))
    INSERT INTO dispatch (unit_id, dispatch, node_id, coordinator, is_check)
    SELECT ${unitId}, ${dispatch}, ${nodeId}, ${coordinatorUrl}, ${check !== undefined} FROM taken
    ON CONFLICT (unit_id, dispatch) DO UPDATE
      SET node_id = EXCLUDED.node_id, coordinator = EXCLUDED.coordinator, reserved_at = now()`;
  return inserted === 1;
}

/** How long a slot is taken at most: until the unit must be over, whatever its node does. */
export function leaseSeconds(request: ScheduleInput['request']): number {
  const limits = executeLimits(request.parameters.deadlineSeconds, request.payloadBytes);
  return (limits.scheduleToStartMs + limits.startToCloseMs) / 1_000 + LEASE_GRACE_SECONDS;
}

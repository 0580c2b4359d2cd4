import { inTransaction, type Database } from '../prisma/client.ts';
import { errorDefinition, type ErrorCode } from '../protocol/errors.ts';
import type { NodeId, UnitId } from '../protocol/ids.ts';

export interface ReportFailureInput {
  readonly unitId: UnitId;
  readonly dispatch: number;
  readonly nodeId: NodeId;
  readonly code: ErrorCode;
}

/**
 * After these the node may still be busy with the unit, so its slot stays taken until the lease
 * ends; otherwise the next unit would meet a busy worker.
 */
const MAYBE_BUSY: readonly ErrorCode[] = ['node.deadline_exceeded', 'execute.node_lost'];

/** After these a node gets no other unit until it has shown that it can serve: see its canary. */
const LOST_WORK: readonly ErrorCode[] = [
  'dispatch.node_unreachable',
  'execute.node_lost',
  'execute.backend_failed',
];

/** A node that was lost doesn't compute for long; one that comes back gets its slot back. */
export const LOST_LEASE_SECONDS = 15;

/**
 * Writes down that an attempt failed: the event, a flag if the node answers for it, and the
 * attempt's end. Once per (unit, dispatch), however often it runs.
 */
export async function reportFailure(
  database: Database,
  { unitId, dispatch, nodeId, code }: ReportFailureInput,
): Promise<void> {
  const { step, recovery, blamesNode } = errorDefinition(code);
  await inTransaction(database, async (transaction) => {
    await transaction.$executeRaw`
      INSERT INTO failure_event (unit_id, dispatch, step, code, node_id, recovery)
      VALUES (${unitId}, ${dispatch}, ${step}, ${code}, ${nodeId}, ${recovery})
      ON CONFLICT (unit_id, dispatch, code) DO NOTHING`;
    if (blamesNode)
      await transaction.$executeRaw`
        INSERT INTO node_event (node_id, unit_id, dispatch, code)
        VALUES (${nodeId}, ${unitId}, ${dispatch}, ${code})
        ON CONFLICT (node_id, unit_id, dispatch, code) DO NOTHING`;
    const decided = await transaction.$executeRaw`
      UPDATE dispatch SET outcome = ${code}, decided_at = now()
      WHERE unit_id = ${unitId} AND dispatch = ${dispatch} AND outcome IS NULL`;
    if (code === 'execute.node_lost')
      await transaction.$executeRaw`
        UPDATE slot SET lease_until = least(lease_until,
          now() + make_interval(secs => ${LOST_LEASE_SECONDS}::float8))
        WHERE unit_id = ${unitId} AND dispatch = ${dispatch}`;
    if (!MAYBE_BUSY.includes(code))
      await transaction.$queryRaw`SELECT release_slot(${unitId}, ${dispatch}::int)`;
    // Only the first time: it may have shown it before this ran again.
    if (decided === 1 && LOST_WORK.includes(code))
      await transaction.$executeRaw`
        UPDATE node SET status = 'probing', probe_after = now(), probe_until = NULL
        WHERE id = ${nodeId} AND status = 'active'`;
  });
}

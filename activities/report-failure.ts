import { announceCancellation } from '../prisma/cancellations.ts';
import { inTransaction, type Database, type Transaction } from '../prisma/client.ts';
import { isPoeFault } from '../protocol/dispatch.ts';
import { errorDefinition, type ErrorCode } from '../protocol/errors.ts';
import type { NodeId, UnitId } from '../protocol/ids.ts';
import { isExcused, type OutageRecord } from '../protocol/outage.ts';
import type { AcceptedInference } from '../protocol/receive.ts';
import { flagNode, recordFailure } from './events.ts';
import { removeForBadProofs } from './removal.ts';

export interface FailedAttempt {
  readonly unitId: UnitId;
  readonly dispatch: number;
  readonly nodeId: NodeId;
  readonly code: ErrorCode;
}

export interface ReportFailureInput extends FailedAttempt {
  /** The nodes that the unit has had, this one included. */
  readonly usedNodes: readonly NodeId[];
  readonly request: Pick<AcceptedInference, 'parameters' | 'modelDigest'>;
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

/** What followed for the node. */
export interface Consequences {
  /** Whether an outage of the network is to blame: then it doesn't count against the node. */
  readonly excused: boolean;
  /** Whether the node was removed from the pool for it. */
  readonly removed: boolean;
}

/**
 * Writes down that an attempt failed: the event, a flag if the node answers for it, and the
 * attempt's end. Once per (unit, dispatch), however often it runs.
 */
export async function reportFailure(
  database: Database,
  input: FailedAttempt,
): Promise<Consequences> {
  const { unitId, dispatch, nodeId, code } = input;
  const { blamesNode } = errorDefinition(code);
  return inTransaction(database, async (transaction) => {
    await recordFailure(transaction, input, nodeId);
    const counts = blamesNode === true || LOST_WORK.includes(code);
    const excused = counts && (await fellIntoOutage(transaction, input));
    const isFlagged = blamesNode === true && !excused;
    const flagged = isFlagged ? await flagNode(transaction, input, nodeId) : 0;
    // Spec 3.4: the attempt earns no uptime credit.
    const isBadProof = isFlagged && isPoeFault(code);
    const decided = await transaction.$executeRaw`
      UPDATE dispatch SET outcome = ${code}, decided_at = now(), forfeits_uptime = ${isBadProof}
      WHERE unit_id = ${unitId} AND dispatch = ${dispatch} AND outcome IS NULL`;
    if (code === 'execute.node_lost')
      await transaction.$executeRaw`
        UPDATE slot SET lease_until = least(lease_until,
          now() + make_interval(secs => ${LOST_LEASE_SECONDS}::float8))
        WHERE unit_id = ${unitId} AND dispatch = ${dispatch}`;
    if (MAYBE_BUSY.includes(code)) await announceCancellation(transaction, unitId, dispatch);
    else await transaction.$queryRaw`SELECT release_slot(${unitId}, ${dispatch}::int)`;
    // Only the first time: it may have shown it before this ran again.
    if (decided === 1 && !excused && LOST_WORK.includes(code))
      await transaction.$executeRaw`
        UPDATE node SET status = CASE status WHEN 'active' THEN 'probing' ELSE status END,
          probe_after = now(), probe_until = CASE status WHEN 'draining' THEN now() END
        WHERE id = ${nodeId} AND status IN ('active', 'draining')`;
    const removed = isBadProof && flagged === 1 && (await removeForBadProofs(transaction, nodeId));
    return { excused, removed };
  });
}

interface AttemptTime extends OutageRecord {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Whether an outage of the network touched the attempt: from its reservation to its end. */
async function fellIntoOutage(
  transaction: Transaction,
  { unitId, dispatch }: FailedAttempt,
): Promise<boolean> {
  const [attempt] = await transaction.$queryRaw<AttemptTime[]>`
    SELECT epoch_ms(reserved_at) AS "fromMs", epoch_ms(coalesce(decided_at, now())) AS "toMs",
           epoch_ms(now()) AS "nowMs", (SELECT epoch_ms(beat_at) FROM pulse) AS "beatAtMs",
           (SELECT coalesce(json_agg(json_build_object('fromMs', epoch_ms(began_at),
                                                       'toMs', epoch_ms(ended_at))), '[]')
            FROM outage WHERE ended_at >= reserved_at) AS outages
    FROM dispatch WHERE unit_id = ${unitId} AND dispatch = ${dispatch}`;
  return attempt !== undefined && isExcused(attempt, attempt);
}

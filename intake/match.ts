import { WorkflowNotFoundError } from '@temporalio/client';
import { reserve, type ScheduleInput } from '../activities/schedule.ts';
import { inTransaction, sql, type Database, type Transaction } from '../prisma/client.ts';
import { DISPATCH_BUDGET } from '../protocol/dispatch.ts';
import { shortId, type UnitId } from '../protocol/ids.ts';
import { HARDWARE_TIER_MAX } from '../protocol/receive.ts';
import { ONLINE_SECONDS } from '../protocol/schedule.ts';
import type { wakeSignal } from '../workflows/schedule.ts';
import type { BackgroundDependencies } from './background.ts';

/** Any number that all coordinators share: one of them matches at a time. */
const MATCH_LOCK = 5_074_822;
/** Units that one round assigns at most; the next one goes on. */
const ROUND_MAX = 64;
/** After this a signal counts as lost: taking note of one is a matter of milliseconds. */
const SIGNAL_AGAIN_SECONDS = 5;
const WAKE: (typeof wakeSignal)['name'] = 'wake';

interface WaitingRow {
  unit_id: UnitId;
  /** Null for a unit that an earlier version has held. */
  input: ScheduleInput | null;
  coordinator: string;
}

/** What one round did. */
export interface Matched {
  readonly assigned: readonly UnitId[];
  /** Whether anything still waits for a node. */
  readonly anyWaiting: boolean;
}

/**
 * Gives free slots to waiting units, in the waiting order, one after the other: each gets the
 * smallest node that fits, and one that fits none doesn't hold up those behind it. Those that come
 * meanwhile leave such slots alone (`activities/schedule.ts`), so nothing is lost by being slow.
 * Their workflows are told afterwards: if that is lost, `remind` tells them again.
 */
export async function match(dependencies: BackgroundDependencies): Promise<Matched> {
  const { database, log } = dependencies;
  const { assigned, anyWaiting } = await inTransaction(database, async (transaction) => {
    // Not only tried: a round that has begun before the slot was freed may have missed it.
    await transaction.$executeRaw`SELECT pg_advisory_xact_lock(${MATCH_LOCK}::bigint)`;
    const rows = await matchable(transaction);
    const units: UnitId[] = [];
    for (const row of rows) {
      // On connections of their own: what is assigned is so at once, and locks nothing for long.
      if (row.input === null || (await isAssigned(dependencies, row))) units.push(row.unit_id);
      // What the look has seen is given away: those behind are looked at anew, in the next round.
      else if (units.length > 0) break;
    }
    return { assigned: units, anyWaiting: await isAnyWaiting(transaction) };
  });
  for (const unitId of assigned)
    log.info({ unit: shortId(unitId) }, 'scheduler // match: assigned while it waited');
  await Promise.all(assigned.map((unitId) => tell(dependencies, unitId)));
  return { assigned, anyWaiting };
}

/** Tells units again that they have a node, if they took no note of it. @returns which. */
export async function remind(dependencies: BackgroundDependencies): Promise<readonly UnitId[]> {
  const rows = await dependencies.database.$queryRaw<WaitingRow[]>`
    SELECT unit_id FROM waiting
    WHERE assigned_at < now() - make_interval(secs => ${SIGNAL_AGAIN_SECONDS}::float8)
      AND (signalled_at IS NULL
           OR signalled_at < now() - make_interval(secs => ${SIGNAL_AGAIN_SECONDS}::float8))
    ORDER BY assigned_at LIMIT ${ROUND_MAX}`;
  const units = rows.map(({ unit_id: unitId }) => unitId);
  await Promise.all(units.map((unitId) => tell(dependencies, unitId)));
  return units;
}

/** Part of a statement: nodes that could take something now. */
const FREE = sql`
  status = 'active' AND is_ready AND is_online AND NOT is_full
  AND last_seen_at > now() - make_interval(secs => ${ONLINE_SECONDS}::float8)
  AND EXISTS (SELECT FROM slot
              WHERE slot.machine_id = node.machine_id AND slot.index < node.slots
                AND (slot.unit_id IS NULL OR slot.lease_until < now()))`;

/**
 * Waiting units that some free node could take, as far as one look tells, in their order. It looks
 * at the fastest free nodes of each tier, one more than a waiting unit can have had: if none of
 * those will do for a unit, none of the tier will.
 */
function matchable(transaction: Transaction): Promise<WaitingRow[]> {
  return transaction.$queryRaw<WaitingRow[]>`
    WITH wanted AS (
      SELECT DISTINCT model_digest, workload_class, features FROM waiting
      WHERE assigned_at IS NULL),
    free AS MATERIALIZED (
      SELECT wanted.model_digest, workload_class, wanted.features, each.tier, fastest.id,
             tokens_per_second
      FROM wanted CROSS JOIN generate_series(1, ${HARDWARE_TIER_MAX}::int) AS each (tier)
        CROSS JOIN LATERAL (
          SELECT id, tokens_per_second FROM node
          WHERE ${FREE} AND node.model_digest = wanted.model_digest AND node.tier = each.tier
            AND wanted.workload_class = ANY (workload_classes)
            AND wanted.features <@ node.features
          ORDER BY tokens_per_second DESC LIMIT ${DISPATCH_BUDGET.dispatchesMax}) AS fastest)
    SELECT unit_id, input, coordinator FROM waiting
    WHERE assigned_at IS NULL
      AND (input IS NULL
           -- A check excludes more than the look allows for, and many of them must not keep those
           -- behind from being seen.
           OR (cardinality(used_operators) > 0 AND EXISTS (SELECT FROM node
                 WHERE ${FREE}
                   AND node.model_digest = waiting.model_digest AND node.tier >= waiting.tier
                   AND waiting.workload_class = ANY (workload_classes)
                   AND NOT (node.id = ANY (used_nodes))
                   AND NOT (node.operator_id = ANY (used_operators))
                   AND (waiting.engine IS NULL OR waiting.engine = node.engine)
                   AND waiting.features <@ node.features
                   AND node.tokens_per_second * deadline_seconds >= complexity))
           OR (cardinality(used_operators) = 0 AND EXISTS (SELECT FROM free
                 WHERE free.model_digest = waiting.model_digest AND free.tier >= waiting.tier
                   AND free.workload_class = waiting.workload_class
                   AND free.features = waiting.features
                   AND free.tokens_per_second * deadline_seconds >= complexity
                   AND NOT (free.id = ANY (used_nodes)))))
    ORDER BY place_ms, unit_id LIMIT ${ROUND_MAX}`;
}

/** What is wrong with one unit keeps neither those behind it nor those before it. */
async function isAssigned(
  { database, log }: BackgroundDependencies,
  { unit_id: unitId, input, coordinator }: WaitingRow,
): Promise<boolean> {
  try {
    return input !== null && (await assign(database, coordinator, input));
  } catch (error) {
    log.error({ unit: shortId(unitId), error: String(error) }, 'scheduler // not assigned');
    return false;
  }
}

/** @returns whether the unit has a node now. */
async function assign(
  database: Database,
  coordinatorUrl: string,
  input: ScheduleInput,
): Promise<boolean> {
  const found = await reserve(database, coordinatorUrl, input, true);
  // A reservation that was there before was made while the unit was put among those that wait.
  if (found && !found.isNew)
    await database.$executeRaw`
      UPDATE waiting SET assigned_at = now() WHERE unit_id = ${input.unitId}`;
  return found !== null;
}

async function isAnyWaiting(transaction: Transaction): Promise<boolean> {
  const [row] = await transaction.$queryRaw<{ any: boolean }[]>`
    SELECT EXISTS (SELECT FROM waiting WHERE assigned_at IS NULL) AS any`;
  return row?.any ?? false;
}

async function tell(
  { client, database, log }: BackgroundDependencies,
  unitId: UnitId,
): Promise<void> {
  try {
    await client.workflow.getHandle(unitId).signal(WAKE);
    await database.$executeRaw`
      UPDATE waiting SET signalled_at = now() WHERE unit_id = ${unitId}`;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError)
      // What it holds goes back with the rest of it: see `intake/reclaim.ts`.
      log.warn({ unit: shortId(unitId) }, 'scheduler // a waiting unit has no running workflow');
    else log.warn({ unit: shortId(unitId), error: String(error) }, 'scheduler // not told');
  }
}

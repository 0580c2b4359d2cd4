import { keepCapacityDetail } from '../prisma/capacity.ts';
import { sql, type Database } from '../prisma/client.ts';
import { NEARNESS } from '../protocol/capacity.ts';
import type { NodeId, UnitId } from '../protocol/ids.ts';
import { PRIORITY_KEYS, type AcceptedInference } from '../protocol/receive.ts';
import {
  CANDIDATES_MAX,
  chooseChecker,
  chooseNode,
  ONLINE_SECONDS,
  turnEndsMs,
  waitingPlaceMs,
  type Candidate,
  type Requirements,
} from '../protocol/schedule.ts';
import { assignment, type AssignmentRow } from './assignment.ts';
import { couldCheck, independent, type CheckRequirements } from './checkers.ts';
import { leaseSeconds, take } from './take-slot.ts';

/** A node that has a slot reserved for one attempt. Its keys are public: SPKI DER in base64. */
export interface Assignment {
  readonly nodeId: NodeId;
  readonly operatorId: string;
  /** As it registered: its equivalence class. Runs that an earlier version began don't know it. */
  readonly engine?: string;
  readonly encryptionKey: string;
  readonly signingKey: string;
}

export interface ScheduleInput {
  readonly unitId: UnitId;
  readonly dispatch: number;
  readonly usedNodes: readonly NodeId[];
  /** There if the attempt checks an earlier one. */
  readonly check?: CheckRequirements;
  readonly request: Pick<
    AcceptedInference,
    'parameters' | 'modelDigest' | 'complexity' | 'acceptedAtMs' | 'deadlineAtMs' | 'payloadBytes'
  > & { readonly accountId?: string };
}

export type ScheduleResult =
  | { readonly kind: 'assigned'; readonly node: Assignment; readonly elapsedMs: number }
  | { readonly kind: 'waiting' }
  /** Its deadline elapsed, or the request was ended from outside meanwhile. */
  | { readonly kind: 'elapsed' }
  /** Of a check: no node of the pool could do it, now or soon. */
  | { readonly kind: 'nobody' };

interface CandidateRow extends AssignmentRow {
  tier: number;
  workload_classes: string[];
  model_digest: string;
  features: string[];
  tokens_per_second: number;
  is_reserved: boolean;
}

/**
 * Step 3 for one unit: reserves a slot, or holds the unit. Running it again for the same (unit,
 * dispatch) finds the reservation that the first run made, or that was made for it while it waited.
 *
 * @param coordinatorUrl where this coordinator takes the stream frames of the attempt.
 */
export async function schedule(
  database: Database,
  coordinatorUrl: string,
  input: ScheduleInput,
): Promise<ScheduleResult> {
  const startedAt = performance.now();
  const found = await reserve(database, coordinatorUrl, input);
  if (found && (found.isNew || (await acknowledge(database, input))))
    return { kind: 'assigned', node: found.node, elapsedMs: performance.now() - startedAt };
  // The lease of a reservation ran out meanwhile: as if there had been none.
  if (found) return schedule(database, coordinatorUrl, input);
  const { unitId, request } = input;
  if (Date.now() >= request.deadlineAtMs) {
    // The end of a check ends no request.
    if (!input.check) await keepCapacityDetail(database, input, NEARNESS, ONLINE_SECONDS);
    await database.$executeRaw`DELETE FROM waiting WHERE unit_id = ${unitId}`;
    return { kind: 'elapsed' };
  }
  if (input.check && !(await couldCheck(database, input, input.check))) return { kind: 'nobody' };
  const { isReserved, isOver } = await hold(database, coordinatorUrl, input);
  // A run of this attempt beside this one has found a slot meanwhile.
  if (isReserved) return schedule(database, coordinatorUrl, input);
  return { kind: isOver ? 'elapsed' : 'waiting' };
}

/** One statement: puts the unit among those that wait, unless there is nothing to wait for. */
async function hold(
  database: Database,
  coordinatorUrl: string,
  input: ScheduleInput,
): Promise<{ readonly isReserved: boolean; readonly isOver: boolean }> {
  const { unitId, dispatch, usedNodes, check, request } = input;
  const { parameters, complexity, modelDigest, deadlineAtMs } = request;
  const [found] = await database.$queryRaw<{ isReserved: boolean; isOver: boolean }[]>`
    WITH found AS (
      SELECT EXISTS (SELECT FROM slot JOIN dispatch AS attempt
                       ON attempt.unit_id = slot.unit_id AND attempt.dispatch = slot.dispatch
                     WHERE slot.unit_id = ${unitId} AND slot.dispatch = ${dispatch}
                       AND attempt.outcome IS NULL) AS "isReserved",
             EXISTS (SELECT FROM request WHERE id = ${unitId} AND finished_at IS NOT NULL)
               AS "isOver"),
    held AS (
      INSERT INTO waiting (unit_id, priority, complexity, workload_class, model_digest, tier,
                           deadline_seconds, used_nodes, used_operators, engine, place_ms,
                           turn_ms, turn_ends_ms, account_id, features, deadline_at, input,
                           coordinator)
      SELECT ${unitId}, ${PRIORITY_KEYS[parameters.priority]}, ${complexity},
             ${parameters.workloadClass}, ${modelDigest}, ${parameters.hardwareTier},
             ${parameters.deadlineSeconds}, ${[...usedNodes]}::text[],
             ${[...(check?.usedOperators ?? [])]}::text[], ${check?.engine ?? null},
             turn_ms + ${behindTurnMs(request)}::float8, turn_ms,
             turn_ms + ${turnEndsMs({ complexity, turnMs: 0 })}::float8, ${accountOf(input)},
             ${[...(parameters.features ?? [])]}::text[],
             ${new Date(deadlineAtMs)}, ${JSON.stringify(input)}::jsonb, ${coordinatorUrl}
      FROM found, ${turn(input)} AS turn (turn_ms) WHERE NOT "isReserved" AND NOT "isOver"
      ON CONFLICT (unit_id) DO UPDATE SET used_nodes = EXCLUDED.used_nodes,
        used_operators = EXCLUDED.used_operators, engine = EXCLUDED.engine,
        place_ms = EXCLUDED.place_ms, turn_ms = EXCLUDED.turn_ms,
        turn_ends_ms = EXCLUDED.turn_ends_ms, account_id = EXCLUDED.account_id,
        input = EXCLUDED.input, coordinator = EXCLUDED.coordinator,
        -- One that was made after this statement began stays, or nobody would tell of it.
        assigned_at = CASE WHEN waiting.assigned_at IS DISTINCT FROM
            (SELECT assigned_at FROM waiting AS seen WHERE seen.unit_id = EXCLUDED.unit_id)
          THEN waiting.assigned_at END,
        signalled_at = NULL)
    SELECT * FROM found`;
  if (!found) throw new Error('SELECT EXISTS returned no row');
  return found;
}

/**
 * The workflow knows of the reservation now: it waits no longer, and its lease begins.
 *
 * @returns false when the reservation was lost before.
 */
async function acknowledge(
  database: Database,
  { unitId, dispatch, request }: ScheduleInput,
): Promise<boolean> {
  const renewed = await database.$executeRaw`
    WITH waited AS (DELETE FROM waiting WHERE unit_id = ${unitId})
    UPDATE slot SET lease_until = now() + make_interval(secs => ${leaseSeconds(request)}::float8)
    WHERE unit_id = ${unitId} AND dispatch = ${dispatch}`;
  return renewed === 1;
}

/** A reservation, and whether it was made just now. */
export interface Reservation {
  readonly node: Assignment;
  readonly isNew: boolean;
}

/**
 * Reads the smallest qualifying nodes, lets the pure function choose, and takes a slot of the
 * chosen one; if others took its last slot meanwhile, of the next. Only the slot that is taken is
 * locked, so that units which are scheduled at once don't hide free nodes from each other.
 *
 * @param isAsleep whether the unit's workflow sleeps: then it has to be told, and its row among
 *   those that wait stays until it has taken note.
 */
export async function reserve(
  database: Database,
  coordinatorUrl: string,
  input: ScheduleInput,
  isAsleep = false,
): Promise<Reservation | null> {
  const { usedNodes, request } = input;
  const { parameters, modelDigest, complexity } = request;
  const requirements: Requirements = {
    workloadClass: parameters.workloadClass,
    modelDigest,
    hardwareTier: parameters.hardwareTier,
    complexity,
    features: parameters.features,
  };
  let rows = await qualifying(database, input);
  const reserved = rows.find(({ is_reserved }) => is_reserved);
  if (reserved) return { node: assignment(reserved), isNew: false };
  for (;;) {
    const candidates = rows.map(candidate);
    const choose = input.check ? chooseChecker : chooseNode;
    const chosen = choose(candidates, requirements, usedNodes, parameters.deadlineSeconds);
    const row = chosen && rows.find(({ id }) => id === chosen.nodeId);
    if (!row) return null;
    if (await take(database, coordinatorUrl, input, row.id, isAsleep))
      return { node: assignment(row), isNew: true };
    rows = rows.filter(({ id }) => id !== row.id);
  }
}

/**
 * The node that is reserved for this attempt, if there is one, and those that could take the unit
 * now, smallest first, no more than the decision needs to see. A node that suits a unit which waits
 * and comes first is left to that one.
 */
function qualifying(database: Database, input: ScheduleInput): Promise<CandidateRow[]> {
  const { unitId, dispatch, usedNodes, check, request } = input;
  const { parameters, modelDigest, complexity } = request;
  // Whoever checks is drawn, or the smallest node of each class would see most checks coming.
  const order = check
    ? sql`sha256(decode(${check.order}, 'hex') || convert_to(${dispatch}::int || id, 'UTF8'))`
    : sql`model_digest, tier, tokens_per_second, id`;
  return database.$queryRaw<CandidateRow[]>`
    SELECT node.id, operator_id, engine, tier, workload_classes, model_digest, features,
           tokens_per_second, encryption_key, signing_key, TRUE AS is_reserved
    FROM dispatch JOIN node ON node.id = dispatch.node_id
      JOIN slot ON slot.unit_id = dispatch.unit_id AND slot.dispatch = dispatch.dispatch
    WHERE dispatch.unit_id = ${unitId} AND dispatch.dispatch = ${dispatch}
      AND dispatch.outcome IS NULL
    UNION ALL
    (SELECT id, operator_id, engine, tier, workload_classes, model_digest, features,
            tokens_per_second, encryption_key, signing_key, FALSE
    FROM node
    WHERE status = 'active' AND is_ready AND is_online AND NOT is_full
      AND last_seen_at > now() - make_interval(secs => ${ONLINE_SECONDS}::float8)
      AND tier >= ${parameters.hardwareTier}
      AND ${parameters.workloadClass} = ANY (workload_classes)
      AND model_digest = ${modelDigest}
      AND features @> ${[...(parameters.features ?? [])]}::text[]
      AND NOT (id = ANY (${[...usedNodes]}::text[])) ${independent(check)}
      AND tokens_per_second * ${parameters.deadlineSeconds}::float8 >= ${complexity}::float8
      AND EXISTS (SELECT FROM slot
                  WHERE slot.machine_id = node.machine_id AND slot.index < node.slots
                    AND (slot.unit_id IS NULL OR slot.lease_until < now()))
      AND NOT EXISTS (
        SELECT FROM waiting
        WHERE assigned_at IS NULL AND waiting.model_digest = node.model_digest
          AND (place_ms, unit_id) <
              ((SELECT turn_ms + ${behindTurnMs(request)}::float8
                FROM ${turn(input)} AS turn (turn_ms)), ${unitId})
          AND waiting.tier <= node.tier
          AND waiting.workload_class = ANY (node.workload_classes)
          AND NOT (node.id = ANY (waiting.used_nodes))
          AND NOT (node.operator_id = ANY (waiting.used_operators))
          AND (waiting.engine IS NULL OR waiting.engine = node.engine)
          AND waiting.features <@ node.features
          AND node.tokens_per_second * waiting.deadline_seconds >= waiting.complexity)
    ORDER BY ${order}
    LIMIT ${CANDIDATES_MAX})`;
}

/** How far a unit's place is behind its turn, which is for the database to know. */
function behindTurnMs({ parameters, complexity }: ScheduleInput['request']): number {
  return waitingPlaceMs({ priority: parameters.priority, complexity, turnMs: 0 });
}

/** Part of a statement: when the unit's turn is. Its place never depends on who looks. */
function turn(input: ScheduleInput) {
  const { parameters, acceptedAtMs } = input.request;
  return sql`waiting_turn_ms(${input.unitId}, ${accountOf(input)},
                             ${PRIORITY_KEYS[parameters.priority]}, ${acceptedAtMs}::float8)`;
}

/** Whose turns a unit's comes after: it has had its own once it was dispatched, or is checked. */
function accountOf({ dispatch, check, request }: ScheduleInput): string {
  return dispatch === 1 && !check ? (request.accountId ?? '') : '';
}

/** What the statement has made sure of isn't read again. */
function candidate(row: CandidateRow): Candidate {
  return {
    nodeId: row.id,
    status: 'active',
    tier: row.tier,
    workloadClasses: row.workload_classes,
    modelDigest: row.model_digest,
    features: row.features,
    online: true,
    ready: true,
    freeSlots: 1,
    throughputPerSecond: row.tokens_per_second,
  };
}

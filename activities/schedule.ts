import type { Database } from '../prisma/client.ts';
import { executeLimits } from '../protocol/execute.ts';
import type { NodeId, UnitId } from '../protocol/ids.ts';
import { PRIORITY_KEYS, type AcceptedInference } from '../protocol/receive.ts';
import {
  chooseNode,
  ONLINE_SECONDS,
  type Candidate,
  type Requirements,
} from '../protocol/schedule.ts';

/** A node that has a slot reserved for one attempt. Its keys are public: SPKI DER in base64. */
export interface Assignment {
  readonly nodeId: NodeId;
  readonly operatorId: string;
  readonly encryptionKey: string;
  readonly signingKey: string;
}

export interface ScheduleInput {
  readonly unitId: UnitId;
  readonly dispatch: number;
  readonly usedNodes: readonly NodeId[];
  readonly request: Pick<
    AcceptedInference,
    'parameters' | 'modelDigest' | 'complexity' | 'deadlineAtMs' | 'payloadBytes'
  >;
}

export type ScheduleResult =
  | { readonly kind: 'assigned'; readonly node: Assignment; readonly elapsedMs: number }
  | { readonly kind: 'waiting' }
  /** Its deadline elapsed, or the request was ended from outside meanwhile. */
  | { readonly kind: 'elapsed' };

/** How many qualifying nodes are shown to the pure decision (design §6). */
const CANDIDATES_MAX = 16;
/** After an execution's outer limit, until its slot is taken back from a node that said nothing. */
const LEASE_GRACE_SECONDS = 5;

interface CandidateRow {
  id: NodeId;
  operator_id: string;
  tier: number;
  workload_classes: string[];
  model_digest: string;
  tokens_per_second: number;
  encryption_key: Uint8Array;
  signing_key: Uint8Array;
  is_reserved: boolean;
}

/**
 * Step 3 for one unit: reserves a slot in one statement, or holds the unit. Running it again for
 * the same (unit, dispatch) finds the reservation that the first run made.
 *
 * @param coordinatorUrl where this coordinator takes the stream frames of the attempt.
 */
export async function schedule(
  database: Database,
  coordinatorUrl: string,
  input: ScheduleInput,
): Promise<ScheduleResult> {
  const startedAt = performance.now();
  const assigned = await reserve(database, coordinatorUrl, input);
  if (assigned)
    return { kind: 'assigned', node: assigned, elapsedMs: performance.now() - startedAt };
  const { unitId, request } = input;
  if (Date.now() >= request.deadlineAtMs) {
    await database.$executeRaw`DELETE FROM waiting WHERE unit_id = ${unitId}`;
    return { kind: 'elapsed' };
  }
  const { isReserved, isOver } = await hold(database, input);
  // A run of this attempt beside this one has found a slot meanwhile.
  if (isReserved) return schedule(database, coordinatorUrl, input);
  return { kind: isOver ? 'elapsed' : 'waiting' };
}

/** One statement: puts the unit among those that wait, unless there is nothing to wait for. */
async function hold(
  database: Database,
  { unitId, dispatch, request }: ScheduleInput,
): Promise<{ readonly isReserved: boolean; readonly isOver: boolean }> {
  const { parameters, complexity, modelDigest, deadlineAtMs } = request;
  const [found] = await database.$queryRaw<{ isReserved: boolean; isOver: boolean }[]>`
    WITH found AS (
      SELECT EXISTS (SELECT FROM dispatch WHERE unit_id = ${unitId} AND dispatch = ${dispatch})
               AS "isReserved",
             EXISTS (SELECT FROM request WHERE id = ${unitId} AND finished_at IS NOT NULL)
               AS "isOver"),
    held AS (
      INSERT INTO waiting (unit_id, priority, complexity, model_digest, tier, deadline_at)
      SELECT ${unitId}, ${PRIORITY_KEYS[parameters.priority]}, ${complexity}, ${modelDigest},
             ${parameters.hardwareTier}, ${new Date(deadlineAtMs)}
      FROM found WHERE NOT "isReserved" AND NOT "isOver"
      ON CONFLICT (unit_id) DO NOTHING)
    SELECT * FROM found`;
  if (!found) throw new Error('SELECT EXISTS returned no row');
  return found;
}

/**
 * Reads the smallest qualifying nodes, lets the pure function choose, and takes a slot of the
 * chosen one; if others took its last slot meanwhile, of the next. Only the slot that is taken is
 * locked, so that units which are scheduled at once don't hide free nodes from each other.
 */
async function reserve(
  database: Database,
  coordinatorUrl: string,
  input: ScheduleInput,
): Promise<Assignment | null> {
  const { usedNodes, request } = input;
  const { parameters, modelDigest, complexity } = request;
  const requirements: Requirements = {
    workloadClass: parameters.workloadClass,
    modelDigest,
    hardwareTier: parameters.hardwareTier,
    complexity,
  };
  let rows = await qualifying(database, input);
  const reserved = rows.find(({ is_reserved }) => is_reserved);
  if (reserved) {
    // It may have begun to wait before that reservation was seen.
    await database.$executeRaw`DELETE FROM waiting WHERE unit_id = ${input.unitId}`;
    return assignment(reserved);
  }
  for (;;) {
    const candidates = rows.map(candidate);
    const chosen = chooseNode(candidates, requirements, usedNodes, parameters.deadlineSeconds);
    const row = chosen && rows.find(({ id }) => id === chosen.nodeId);
    if (!row) return null;
    if (await take(database, coordinatorUrl, input, row.id)) return assignment(row);
    rows = rows.filter(({ id }) => id !== row.id);
  }
}

/**
 * The node that an earlier run for this attempt reserved, if there was one, and those that could
 * take the unit now, smallest first, no more than the decision needs to see.
 */
function qualifying(
  database: Database,
  { unitId, dispatch, usedNodes, request }: ScheduleInput,
): Promise<CandidateRow[]> {
  const { parameters, modelDigest, complexity } = request;
  return database.$queryRaw<CandidateRow[]>`
    SELECT id, operator_id, tier, workload_classes, model_digest, tokens_per_second,
           encryption_key, signing_key, TRUE AS is_reserved
    FROM dispatch JOIN node ON node.id = dispatch.node_id
    WHERE unit_id = ${unitId} AND dispatch = ${dispatch}
    UNION ALL
    (SELECT id, operator_id, tier, workload_classes, model_digest, tokens_per_second,
            encryption_key, signing_key, FALSE
    FROM node
    WHERE status = 'active'
      AND last_seen_at > now() - make_interval(secs => ${ONLINE_SECONDS}::float8)
      AND tier >= ${parameters.hardwareTier}
      AND ${parameters.workloadClass} = ANY (workload_classes)
      AND model_digest = ${modelDigest}
      AND NOT (id = ANY (${[...usedNodes]}::text[]))
      AND tokens_per_second * ${parameters.deadlineSeconds}::float8 >= ${complexity}::float8
      AND EXISTS (SELECT FROM slot WHERE slot.node_id = node.id
                  AND (slot.unit_id IS NULL OR slot.lease_until < now()))
    ORDER BY tier, tokens_per_second, id
    LIMIT ${CANDIDATES_MAX})`;
}

/**
 * One statement, all of it or nothing: takes a slot and begins the attempt.
 *
 * @returns whether the node had a slot that nobody else holds or is just taking.
 */
async function take(
  database: Database,
  coordinatorUrl: string,
  { unitId, dispatch, request }: ScheduleInput,
  nodeId: NodeId,
): Promise<boolean> {
  const inserted = await database.$executeRaw`
    WITH free AS (
      SELECT node_id, index FROM slot
      WHERE node_id = ${nodeId} AND (unit_id IS NULL OR lease_until < now())
        AND NOT EXISTS (SELECT FROM request WHERE id = ${unitId} AND finished_at IS NOT NULL)
      LIMIT 1 FOR UPDATE SKIP LOCKED),
    taken AS (
      UPDATE slot SET unit_id = ${unitId}, dispatch = ${dispatch},
        lease_until = now() + make_interval(secs => ${leaseSeconds(request)}::float8)
      FROM free WHERE slot.node_id = free.node_id AND slot.index = free.index
      RETURNING slot.node_id),
    started AS (
      UPDATE request SET status = 'running'
      WHERE id = ${unitId} AND status = 'accepted' AND EXISTS (SELECT FROM taken)),
    waited AS (
      DELETE FROM waiting WHERE unit_id = ${unitId} AND EXISTS (SELECT FROM taken))
    INSERT INTO dispatch (unit_id, dispatch, node_id, coordinator)
    SELECT ${unitId}, ${dispatch}, node_id, ${coordinatorUrl} FROM taken`;
  return inserted === 1;
}

function leaseSeconds(request: ScheduleInput['request']): number {
  const limits = executeLimits(request.parameters.deadlineSeconds, request.payloadBytes);
  return (limits.scheduleToStartMs + limits.startToCloseMs) / 1_000 + LEASE_GRACE_SECONDS;
}

function candidate(row: CandidateRow): Candidate {
  return {
    nodeId: row.id,
    tier: row.tier,
    workloadClasses: row.workload_classes,
    modelDigest: row.model_digest,
    online: true,
    freeSlots: 1,
    throughputPerSecond: row.tokens_per_second,
  };
}

function assignment(row: CandidateRow): Assignment {
  return {
    nodeId: row.id,
    operatorId: row.operator_id,
    encryptionKey: Buffer.from(row.encryption_key).toString('base64'),
    signingKey: Buffer.from(row.signing_key).toString('base64'),
  };
}

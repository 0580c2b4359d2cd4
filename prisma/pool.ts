import type { AttemptRow, PoolNode, QueuePlace, TransitionRow } from '../protocol/explanation.ts';
import type { NodeId, UnitId } from '../protocol/ids.ts';
import type { Transaction } from './client.ts';
import { Prisma } from './generated/client.ts';

type Reader = Pick<Transaction, '$queryRaw'>;

/** What is read of a node. Slots and flags are counted for those nodes only that are asked for. */
const POOL_NODE = Prisma.sql`
  SELECT node.id, name, operator_id AS "operatorId", status, tier,
         workload_classes AS "workloadClasses", model_id AS "modelId",
         model_digest AS "modelDigest", engine, features, tokens_per_second AS "tokensPerSecond",
         claimed_tier AS "claimedTier", claimed_tokens_per_second AS "claimedTokensPerSecond",
         probe_code AS "probeCode",
         CASE WHEN probe_until > now() THEN 0
              ELSE greatest(0, extract(epoch FROM probe_after - now())) END::float8
           AS "probeInSeconds",
         registered_at AS "registeredAt", last_seen_at AS "lastSeenAt",
         extract(epoch FROM now() - last_seen_at)::float8 AS "silentSeconds",
         is_online AS "isOnline", is_ready AS ready,
         slots.total AS "slotsTotal", slots.free AS "slotsFree", flags.total AS flags
  FROM node,
    LATERAL (SELECT count(*)::int AS total,
               count(*) FILTER (WHERE unit_id IS NULL OR lease_until < now())::int AS free
             FROM slot
             WHERE slot.machine_id = node.machine_id AND slot.index < node.slots) AS slots,
    LATERAL (SELECT count(*)::int AS total FROM node_event
             WHERE node_event.node_id = node.id) AS flags`;

/** The nodes of the pool, smallest first: the order in which they get work. Removed ones aren't. */
export function readPool(database: Reader): Promise<PoolNode[]> {
  return database.$queryRaw<PoolNode[]>`
    ${POOL_NODE} WHERE status <> 'removed' ORDER BY tier, tokens_per_second, node.id`;
}

/** One node, also a removed one. @returns undefined when none ever registered by that id. */
export async function readNode(database: Reader, id: string): Promise<PoolNode | undefined> {
  const [node] = await database.$queryRaw<PoolNode[]>`${POOL_NODE} WHERE node.id = ${id}`;
  return node;
}

/** Whom a node stands behind. */
export type Place = Pick<PoolNode, 'modelDigest' | 'tier' | 'tokensPerSecond'>;

/**
 * The free nodes that get work before another one of the same weights, smallest first.
 *
 * @param onlineSeconds since a heartbeat, within which a node counts as online.
 * @param limit how many at most.
 */
export function readNodesBefore(
  database: Reader,
  { modelDigest, tier, tokensPerSecond }: Place,
  onlineSeconds: number,
  limit: number,
): Promise<PoolNode[]> {
  return database.$queryRaw<PoolNode[]>`
    ${POOL_NODE}
    WHERE status = 'active' AND is_ready AND is_online
      AND model_digest = ${modelDigest} AND slots.free > 0
      AND last_seen_at > now() - make_interval(secs => ${onlineSeconds}::float8)
      AND (tier, tokens_per_second) < (${tier}::int, ${tokensPerSecond}::float8)
    ORDER BY tier, tokens_per_second, node.id LIMIT ${limit}`;
}

/** An attempt as the coordination plane names it; nodes are told another number. */
export interface AttemptKey {
  readonly unitId: UnitId;
  readonly dispatch: number;
}

/**
 * Frees the slots of attempts that are over, and so never get one again. One after the other: each
 * statement locks its slot before its nodes, as everywhere, so that two which free or take can't
 * wait for each other.
 *
 * @returns those whose slot was freed now.
 */
export async function releaseSlots(
  database: Reader,
  attempts: readonly AttemptKey[],
): Promise<readonly AttemptKey[]> {
  const released: AttemptKey[] = [];
  for (const attempt of attempts) {
    const [row] = await database.$queryRaw<{ freed: boolean }[]>`
      SELECT release_slot(${attempt.unitId}, ${attempt.dispatch}::int) AS freed`;
    if (row?.freed) released.push(attempt);
  }
  return released;
}

/** The attempts at a unit, in their order. */
export function readAttempts(database: Reader, unitId: string): Promise<AttemptRow[]> {
  return database.$queryRaw<AttemptRow[]>`
    SELECT dispatch, node_id AS "nodeId", node.name AS "nodeName", reserved_at AS "reservedAt",
           decided_at AS "decidedAt", outcome, is_check AS "isCheck"
    FROM dispatch LEFT JOIN node ON node.id = node_id WHERE unit_id = ${unitId} ORDER BY dispatch`;
}

/**
 * Where a node's frames of its latest attempt at a unit must arrive.
 *
 * @returns a URL; undefined when the node was never given the unit.
 */
export async function coordinatorOf(
  database: Reader,
  unitId: UnitId,
  nodeId: NodeId,
): Promise<string | undefined> {
  const [row] = await database.$queryRaw<{ coordinator: string }[]>`
    SELECT coordinator FROM dispatch WHERE unit_id = ${unitId} AND node_id = ${nodeId}
    ORDER BY dispatch DESC LIMIT 1`;
  return row?.coordinator;
}

/** The latest decided attempts on a node, latest first. */
export function readNodeAttempts(
  database: Reader,
  nodeId: string,
  limit: number,
): Promise<Pick<AttemptRow, 'decidedAt' | 'outcome'>[]> {
  return database.$queryRaw<Pick<AttemptRow, 'decidedAt' | 'outcome'>[]>`
    SELECT decided_at AS "decidedAt", outcome FROM dispatch
    WHERE node_id = ${nodeId} AND outcome IS NOT NULL
    ORDER BY reserved_at DESC LIMIT ${limit}`;
}

/** The latest changes of a node's presence, latest first. */
export function readTransitions(
  database: Reader,
  nodeId: string,
  limit: number,
): Promise<TransitionRow[]> {
  return database.$queryRaw<TransitionRow[]>`
    SELECT code, created_at AS "createdAt" FROM node_transition
    WHERE node_id = ${nodeId} ORDER BY id DESC LIMIT ${limit}`;
}

/**
 * The place of a unit in the waiting order.
 *
 * @returns undefined when the unit doesn't wait.
 */
export async function readQueuePlace(
  database: Reader,
  unitId: string,
): Promise<QueuePlace | undefined> {
  const [row] = await database.$queryRaw<QueuePlace[]>`
    SELECT complexity, "modelDigest", since, position, length FROM (
      SELECT unit_id, complexity, model_digest AS "modelDigest", since,
             row_number() OVER (ORDER BY place_ms, unit_id)::int AS position,
             count(*) OVER ()::int AS length
      FROM waiting WHERE assigned_at IS NULL) AS queue
    WHERE unit_id = ${unitId}`;
  return row;
}

/** How many units wait, and how many of them ask for no more than a node has. */
export async function countWaiting(
  database: Reader,
  { modelDigest, tier, features }: Pick<PoolNode, 'modelDigest' | 'tier' | 'features'>,
): Promise<{ readonly total: number; readonly suited: number }> {
  const [row] = await database.$queryRaw<{ total: number; suited: number }[]>`
    SELECT count(*)::int AS total,
           count(*) FILTER (WHERE model_digest = ${modelDigest} AND tier <= ${tier}
                            AND features <@ ${[...features]}::text[])::int AS suited
    FROM waiting WHERE assigned_at IS NULL`;
  return row ?? { total: 0, suited: 0 };
}

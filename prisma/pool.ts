import type { NodeId, UnitId } from '../protocol/ids.ts';
import type { NodeStatus } from '../protocol/schedule.ts';
import type { Transaction } from './client.ts';
import { Prisma } from './generated/client.ts';

type Reader = Pick<Transaction, '$queryRaw'>;

/** A node as the pool shows it: what it said of itself, and what was seen and measured of it. */
export interface PoolNode {
  readonly id: NodeId;
  readonly name: string;
  readonly operatorId: string;
  readonly status: NodeStatus;
  readonly tier: number;
  readonly workloadClasses: readonly string[];
  readonly modelId: string;
  readonly modelDigest: string;
  readonly engine: string;
  /** Measured; 0 before. */
  readonly tokensPerSecond: number;
  readonly claimedTier: number;
  readonly claimedTokensPerSecond: number;
  /** Why its latest canary failed; null if it didn't. */
  readonly probeCode: string | null;
  /** Until its next canary, while it is probing. */
  readonly probeInSeconds: number;
  readonly registeredAt: Date;
  readonly lastSeenAt: Date;
  /** Since its last heartbeat, by the database's clock. */
  readonly silentSeconds: number;
  /** Whether it is there: it registered, didn't leave, and wasn't found silent. */
  readonly isOnline: boolean;
  /** Whether its backend can serve, by its own word. */
  readonly ready: boolean;
  readonly slotsTotal: number;
  readonly slotsFree: number;
  /** Faulty returns and missed deadlines that count against it. */
  readonly flags: number;
}

/** What is read of a node. Slots and flags are counted for those nodes only that are asked for. */
const POOL_NODE = Prisma.sql`
  SELECT node.id, name, operator_id AS "operatorId", status, tier,
         workload_classes AS "workloadClasses", model_id AS "modelId",
         model_digest AS "modelDigest", engine, tokens_per_second AS "tokensPerSecond",
         claimed_tier AS "claimedTier", claimed_tokens_per_second AS "claimedTokensPerSecond",
         probe_code AS "probeCode",
         greatest(0, extract(epoch FROM probe_after - now()))::float8 AS "probeInSeconds",
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

/** An attempt by its key: one that is over never gets a slot again. */
export type AttemptKey = { readonly unitId: UnitId; readonly dispatch: number };

/**
 * Frees the slots of attempts that are over, one after the other: each statement locks its slot
 * before its nodes, as everywhere, so that two which free or take can't wait for each other.
 *
 * @returns those whose slot was freed now.
 */
export async function releaseSlots<Attempt extends AttemptKey>(
  database: Reader,
  attempts: readonly Attempt[],
): Promise<readonly Attempt[]> {
  const released: Attempt[] = [];
  for (const attempt of attempts) {
    const [row] = await database.$queryRaw<{ freed: boolean }[]>`
      SELECT release_slot(${attempt.unitId}, ${attempt.dispatch}::int) AS freed`;
    if (row?.freed) released.push(attempt);
  }
  return released;
}

/** One attempt at a unit. */
export interface AttemptRow {
  readonly dispatch: number;
  readonly nodeId: NodeId;
  readonly nodeName: string | null;
  readonly reservedAt: Date;
  readonly decidedAt: Date | null;
  /** `accepted`, or the code that ended it; null while it is undecided. */
  readonly outcome: string | null;
}

/** The attempts at a unit, in their order. */
export function readAttempts(database: Reader, unitId: string): Promise<AttemptRow[]> {
  return database.$queryRaw<AttemptRow[]>`
    SELECT dispatch, node_id AS "nodeId", node.name AS "nodeName", reserved_at AS "reservedAt",
           decided_at AS "decidedAt", outcome
    FROM dispatch LEFT JOIN node ON node.id = node_id WHERE unit_id = ${unitId} ORDER BY dispatch`;
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

/** One change of a node's presence, by a code of `protocol/presence.ts`. */
export interface TransitionRow {
  readonly code: string;
  readonly createdAt: Date;
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

/** A waiting unit's place in the queue: 1 for the one that is woken first. */
export interface QueuePlace {
  readonly complexity: number;
  readonly modelDigest: string;
  readonly since: Date;
  readonly position: number;
  readonly length: number;
}

/**
 * The place of a unit in the order in which the sweeper wakes.
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
             row_number() OVER (ORDER BY priority, complexity DESC, since)::int AS position,
             count(*) OVER ()::int AS length
      FROM waiting) AS queue
    WHERE unit_id = ${unitId}`;
  return row;
}

/** How many units wait, and how many of them ask for no more than a node's model and tier. */
export async function countWaiting(
  database: Reader,
  { modelDigest, tier }: Pick<PoolNode, 'modelDigest' | 'tier'>,
): Promise<{ readonly total: number; readonly suited: number }> {
  const [row] = await database.$queryRaw<{ total: number; suited: number }[]>`
    SELECT count(*)::int AS total,
           count(*) FILTER (WHERE model_digest = ${modelDigest} AND tier <= ${tier})::int AS suited
    FROM waiting`;
  return row ?? { total: 0, suited: 0 };
}

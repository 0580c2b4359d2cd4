import type { NodeId } from '../protocol/ids.ts';
import type { NodeStatus } from '../protocol/schedule.ts';
import type { Side } from '../protocol/vote.ts';
import { inTransaction, type Database, type Transaction } from './client.ts';
import { Prisma } from './generated/client.ts';

type Reader = Pick<Transaction, '$queryRaw'>;

/** How many of the latest flags are told beside their counts. */
const EVENTS_MAX = 10;

/** What is known of a node's honesty in one class of work. */
export interface TrustRow {
  readonly workloadClass: string;
  readonly checked: number;
  readonly logRatio: number;
  /** ISO 8601, as JSON has it. */
  readonly clearedAt: string | null;
}

/** A flag against a node. Times are ISO 8601. */
export interface FlagRow {
  readonly code: string;
  readonly unitId: string;
  readonly dispatch: number;
  readonly createdAt: string;
}

/** A node that somebody should look at. */
export interface ReviewRow {
  readonly id: NodeId;
  readonly name: string;
  readonly operatorId: string;
  readonly status: NodeStatus;
  /** Of its latest removal, while it is removed; null if nobody wrote one down. */
  readonly removalCode: string | null;
  /** By code, since it was last let in. */
  readonly flags: Readonly<Record<string, number>>;
  readonly trust: readonly TrustRow[];
  /** The latest flags, latest first. */
  readonly events: readonly FlagRow[];
}

const FLAG = Prisma.sql`json_build_object(
  'code', code, 'unitId', unit_id, 'dispatch', dispatch, 'createdAt', created_at)`;

/** Flags that nobody has decided on yet. */
const OPEN_FLAGS = Prisma.sql`
  SELECT * FROM node_event
  WHERE node_event.node_id = node.id AND created_at > coalesce(
    (SELECT max(created_at) FROM node_review
     WHERE node_review.node_id = node.id AND decision = 'reinstated'), '-infinity')`;

const REVIEW = Prisma.sql`
  SELECT node.id, name, operator_id AS "operatorId", status,
         CASE WHEN status = 'removed' THEN
           (SELECT code FROM node_review WHERE node_id = node.id AND decision = 'removed'
            ORDER BY node_review.id DESC LIMIT 1) END AS "removalCode",
         coalesce((SELECT json_object_agg(code, total) FROM (
           SELECT code, count(*) AS total FROM (${OPEN_FLAGS}) AS flag GROUP BY code) AS counted),
           '{}') AS flags,
         coalesce((SELECT json_agg(json_build_object(
             'workloadClass', workload_class, 'checked', checked, 'logRatio', log_ratio,
             'clearedAt', cleared_at) ORDER BY workload_class)
           FROM node_trust WHERE node_id = node.id), '[]') AS trust,
         coalesce((SELECT json_agg(${FLAG} ORDER BY id DESC) FROM (
           ${OPEN_FLAGS} ORDER BY id DESC LIMIT ${EVENTS_MAX}) AS flag), '[]') AS events
  FROM node`;

/**
 * Nodes that were removed, and then nodes with flags that nobody has decided on, each by their ids.
 *
 * @param after only those behind this node; null from the first on.
 */
export function listReviews(
  database: Reader,
  after: string | null,
  limit: number,
): Promise<ReviewRow[]> {
  return database.$queryRaw<ReviewRow[]>`
    ${REVIEW}
    WHERE (status = 'removed' OR EXISTS (${OPEN_FLAGS}))
      AND (${after}::text IS NULL OR (status <> 'removed', node.id) >
           (SELECT status <> 'removed', id FROM node WHERE id = ${after}))
    ORDER BY status <> 'removed', node.id LIMIT ${limit}`;
}

/** One node. @returns undefined when no node of that id ever registered. */
export async function readReview(database: Reader, id: string): Promise<ReviewRow | undefined> {
  const [row] = await database.$queryRaw<ReviewRow[]>`${REVIEW} WHERE node.id = ${id}`;
  return row;
}

/** All that was decided on a node, latest first. */
export interface DecisionRow {
  readonly decision: 'removed' | 'reinstated';
  readonly code: string | null;
  readonly reviewer: string | null;
  readonly reason: string | null;
  readonly createdAt: Date;
}

/** One vote that a node took part in. */
export interface CastRow {
  readonly unitId: string;
  readonly dispatch: number;
  readonly side: Side;
  readonly outcome: string;
  readonly decidedAt: Date;
}

export interface NodeHistory {
  readonly decisions: readonly DecisionRow[];
  readonly flags: readonly FlagRow[];
  readonly votes: readonly CastRow[];
}

/** All that is written down on a node's honesty, latest first, up to `limit` of each kind. */
export async function readHistory(
  database: Reader,
  nodeId: string,
  limit: number,
): Promise<NodeHistory> {
  const [decisions, flags, votes] = await Promise.all([
    database.$queryRaw<DecisionRow[]>`
      SELECT decision, code, reviewer, reason, created_at AS "createdAt" FROM node_review
      WHERE node_id = ${nodeId} ORDER BY id DESC LIMIT ${limit}`,
    database.$queryRaw<{ flag: FlagRow }[]>`
      SELECT ${FLAG} AS flag FROM node_event
      WHERE node_id = ${nodeId} ORDER BY id DESC LIMIT ${limit}`,
    database.$queryRaw<CastRow[]>`
      SELECT unit_id AS "unitId", dispatch, side, outcome, decided_at AS "decidedAt"
      FROM vote JOIN verification USING (unit_id)
      WHERE node_id = ${nodeId} ORDER BY decided_at DESC, unit_id, dispatch LIMIT ${limit}`,
  ]);
  return { decisions, flags: flags.map(({ flag }) => flag), votes };
}

/** Rolls a reinstatement back. */
class NotRemoved extends Error {}

/**
 * Lets a removed node in again: it shows by a canary that it can serve, and its work is all checked
 * at first. No stake and no money is touched, and what is owed for its earlier work still is.
 *
 * @param reviewer the account that decided so.
 * @returns false when it isn't removed; nothing is changed then.
 */
export async function reinstate(
  database: Database,
  nodeId: string,
  reviewer: string,
  reason: string,
): Promise<boolean> {
  try {
    await inTransaction(database, async (transaction) => {
      // Trust before nodes, as when a vote removes one: two such can't wait for each other.
      await transaction.$executeRaw`
        UPDATE node_trust SET checked = 0, log_ratio = 0 WHERE node_id = ${nodeId}`;
      const changed = await transaction.$executeRaw`
        UPDATE node SET status = 'probing', probe_after = now(), probe_until = NULL
        WHERE id = ${nodeId} AND status = 'removed'`;
      if (changed === 0) throw new NotRemoved();
      await transaction.$executeRaw`
        INSERT INTO node_review (node_id, decision, reviewer, reason)
        VALUES (${nodeId}, 'reinstated', ${reviewer}, ${reason})`;
      await transaction.$executeRaw`
        INSERT INTO node_transition (node_id, code) VALUES (${nodeId}, 'node.reinstated')`;
    });
    return true;
  } catch (error) {
    if (error instanceof NotRemoved) return false;
    throw error;
  }
}

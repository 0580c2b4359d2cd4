import type { KeyObject } from 'node:crypto';
import type { Logger } from 'pino';
import { attemptNumber } from '../crypto/channel.ts';
import { answersChallenge, challengeOf } from '../crypto/heartbeat.ts';
import { inTransaction, sql, type Database } from '../prisma/client.ts';
import { releaseSlots, type AttemptKey } from '../prisma/pool.ts';
import { closeUptime, openUptime } from '../prisma/uptime.ts';
import { CodedError } from '../protocol/errors.ts';
import { shortId, type NodeId } from '../protocol/ids.ts';
import { firstIssue } from '../protocol/issues.ts';
import { PROBE_PAUSE_SECONDS } from '../protocol/measure.ts';
import {
  transitionMessage,
  type Challenge,
  type Heartbeat,
  type RunningAttempt,
  type TransitionCode,
} from '../protocol/presence.ts';
import { heartbeatSchema } from '../protocol/presence-schema.ts';
import type { RemovalCode } from '../protocol/removal.ts';
import type { NodeStatus } from '../protocol/schedule.ts';

/** So long after an attempt was decided its node may not have heard of it. */
const HEARD_SECONDS = 1;

/** With these a node brings capacity, if it is ready. */
const RETURNS: readonly TransitionCode[] = ['node.online', 'node.ready'];

export interface PresenceDependencies {
  readonly database: Database;
  readonly channelSecret: KeyObject;
  readonly log: Logger;
}

/** What follows from a heartbeat. */
export interface Noted {
  /** Whether units that wait may find capacity now that wasn't there before. */
  readonly bringsCapacity: boolean;
  /** Why the node is no longer in the pool; null while it is. */
  readonly removedFor: RemovalCode | null;
  /** What the next heartbeat has to answer. */
  readonly next: Challenge;
}

interface Seen {
  readonly removedFor: RemovalCode | null;
  readonly isReady: boolean;
  readonly isOnline: boolean;
  readonly hasShown: boolean;
  readonly hasWindow: boolean;
  readonly holdsOver: boolean;
}

/** Whether a node has shown that it can serve; one that drains may owe a canary still. */
const HAS_SHOWN = sql`(status = 'active' OR (status = 'draining' AND probe_until IS NULL))`;

/**
 * Notes that a node is alive, whether it can serve, and what it is done with. One statement while
 * nothing changes. Of any number that answer one challenge, one is noted.
 *
 * @param nodeId as an edge has authenticated it.
 * @param body a `Heartbeat`, and the `Challenge` that it answers.
 * @returns what follows from it.
 * @throws CodedError `node.heartbeat_invalid`, `node.heartbeat_replayed` unless it answers the
 * challenge of now, or `node.unknown` when it has to register (again).
 */
export async function heartbeat(
  dependencies: PresenceDependencies,
  nodeId: NodeId,
  body: unknown,
): Promise<Noted> {
  const { database, channelSecret, log } = dependencies;
  const parsed = heartbeatSchema.safeParse(body);
  if (!parsed.success) throw new CodedError('node.heartbeat_invalid', firstIssue(parsed.error));
  const { ready, running, sequence } = parsed.data;
  if (!answersChallenge(channelSecret, nodeId, parsed.data)) throw await replayed(database, nodeId);
  // No index has these columns, so that the row stays where it is.
  const [seen] = await database.$queryRaw<Seen[]>`
    UPDATE node SET last_seen_at = now(), heartbeat_sequence = heartbeat_sequence + 1
    WHERE id = ${nodeId} AND heartbeat_sequence = ${sequence}::int
    RETURNING is_ready AS "isReady", is_online AS "isOnline", ${HAS_SHOWN} AS "hasShown",
      EXISTS (SELECT FROM node_uptime
              WHERE node_id = node.id AND ended_at IS NULL) AS "hasWindow",
      CASE WHEN status = 'removed' THEN
        (SELECT code FROM node_review WHERE node_id = node.id AND decision = 'removed'
         ORDER BY id DESC LIMIT 1) END AS "removedFor",
      EXISTS (SELECT ${OVER} AND slot.machine_id = node.machine_id
                AND attempt.node_id = node.id) AS "holdsOver"`;
  if (!seen) throw await replayed(database, nodeId);
  const freed = seen.holdsOver ? await freeOver(dependencies, nodeId, running) : 0;
  const isChanged =
    !seen.isOnline || seen.isReady !== ready || seen.hasWindow !== (ready && seen.hasShown);
  const codes = isChanged ? await appear(database, nodeId, ready) : [];
  for (const code of codes) logTransition(log, nodeId, code);
  const bringsCapacity = ready && (freed > 0 || codes.some((code) => RETURNS.includes(code)));
  const next = challengeOf(channelSecret, nodeId, sequence + 1);
  return { bringsCapacity, removedFor: seen.removedFor, next };
}

async function replayed(database: Database, nodeId: NodeId): Promise<CodedError> {
  await assertKnown(database, nodeId);
  return new CodedError('node.heartbeat_replayed');
}

/** What the node's next heartbeat has to answer. @throws CodedError `node.unknown` */
export async function nextChallenge(
  { database, channelSecret }: Pick<PresenceDependencies, 'database' | 'channelSecret'>,
  nodeId: NodeId,
): Promise<Challenge> {
  const [node] = await database.$queryRaw<{ sequence: number }[]>`
    SELECT heartbeat_sequence AS sequence FROM node WHERE id = ${nodeId}`;
  if (!node) throw new CodedError('node.unknown');
  return challengeOf(channelSecret, nodeId, node.sequence);
}

/** Slots of attempts that are over: some nodes haven't stopped yet, or haven't said so. */
const OVER = sql`
  FROM slot JOIN dispatch AS attempt
    ON attempt.unit_id = slot.unit_id AND attempt.dispatch = slot.dispatch
  WHERE ((attempt.outcome IS NOT NULL
          AND attempt.decided_at < now() - make_interval(secs => ${HEARD_SECONDS}::float8))
         OR EXISTS (
           SELECT FROM request WHERE request.id = slot.unit_id
             AND finished_at < now() - make_interval(secs => ${HEARD_SECONDS}::float8)))`;

/**
 * Frees those that the node doesn't name as running. A node that lies about what it runs gets work
 * that it has no room for, which is its own loss.
 *
 * @returns how many slots were freed.
 */
async function freeOver(
  { database, channelSecret }: PresenceDependencies,
  nodeId: NodeId,
  running: Heartbeat['running'],
): Promise<number> {
  const attempts = await database.$queryRaw<AttemptKey[]>`
    SELECT slot.unit_id AS "unitId", slot.dispatch ${OVER} AND attempt.node_id = ${nodeId}`;
  const over = attempts.filter(({ unitId, dispatch }) => {
    // An earlier version has told the dispatch number itself.
    const numbers = [attemptNumber(channelSecret, unitId, dispatch), dispatch];
    return !running.some((named) => named.unitId === unitId && numbers.includes(named.dispatch));
  });
  return (await releaseSlots(database, over)).length;
}

/**
 * A node is online, ready or not; its uptime counts while it is ready and has shown that it can
 * serve.
 *
 * @returns what is new.
 */
async function appear(
  database: Database,
  nodeId: NodeId,
  ready: boolean,
): Promise<readonly TransitionCode[]> {
  return inTransaction(database, async (transaction) => {
    const [node] = await transaction.$queryRaw<Appearing[]>`
      SELECT is_ready AS "isReady", is_online AS "isOnline", status, ${HAS_SHOWN} AS "hasShown"
      FROM node WHERE id = ${nodeId} FOR UPDATE`;
    if (!node) return [];
    const codes: TransitionCode[] = [];
    if (!node.isOnline) codes.push('node.online');
    if (node.isReady !== ready) codes.push(ready ? 'node.ready' : 'node.backend_gone');
    // What kept it from passing its canary may be over.
    if (codes.length > 0)
      await transaction.$executeRaw`
        UPDATE node SET is_online = TRUE, is_ready = ${ready}, probe_after = least(probe_after,
          now() + make_interval(secs => ${PROBE_PAUSE_SECONDS}::float8))
        WHERE id = ${nodeId}`;
    if (ready && node.hasShown) await openUptime(transaction, nodeId);
    else {
      const why = node.status === 'removed' ? 'node.removed' : 'node.probing';
      const closed = await closeUptime(transaction, nodeId, ready ? why : 'node.backend_gone');
      if (closed && ready) codes.push(why);
    }
    await transaction.$executeRaw`
      INSERT INTO node_transition (node_id, code)
      SELECT ${nodeId}, code FROM unnest(${codes}::text[]) AS code`;
    return codes;
  });
}

interface Appearing extends Pick<Seen, 'isReady' | 'isOnline' | 'hasShown'> {
  readonly status: NodeStatus;
}

/**
 * The node takes nothing new from now on; registering again ends that.
 *
 * @returns the attempts that it was given and that are undecided: it may not have heard of all.
 * @throws CodedError `node.unknown`
 */
export async function drain(
  { database, channelSecret, log }: PresenceDependencies,
  nodeId: NodeId,
): Promise<readonly RunningAttempt[]> {
  const code: TransitionCode = 'node.draining';
  const drained = await database.$executeRaw`
    WITH drained AS (
      UPDATE node SET status = 'draining',
        -- It owes the canary still, or draining would be a way around it.
        probe_until = CASE WHEN status = 'probing' OR probe_until > now() THEN now() END
      WHERE id = ${nodeId} AND status IN ('active', 'probing') RETURNING id)
    INSERT INTO node_transition (node_id, code) SELECT id, ${code} FROM drained`;
  if (drained > 0) logTransition(log, nodeId, code);
  else await assertKnown(database, nodeId);
  const attempts = await database.$queryRaw<AttemptKey[]>`
    SELECT slot.unit_id AS "unitId", slot.dispatch
    FROM slot JOIN dispatch AS attempt
      ON attempt.unit_id = slot.unit_id AND attempt.dispatch = slot.dispatch
    WHERE attempt.node_id = ${nodeId} AND attempt.outcome IS NULL AND lease_until > now()`;
  return attempts.map(({ unitId, dispatch }) => ({
    unitId,
    dispatch: attemptNumber(channelSecret, unitId, dispatch),
  }));
}

/**
 * The node is offline from now on, by its own word: its window of uptime ends now.
 *
 * @throws CodedError `node.unknown`
 */
export async function leave(
  { database, log }: PresenceDependencies,
  nodeId: NodeId,
): Promise<void> {
  const code: TransitionCode = 'node.left';
  const gone = await database.$executeRaw`
    WITH gone AS (
      UPDATE node SET is_online = FALSE WHERE id = ${nodeId} AND is_online RETURNING id),
    closed AS (
      UPDATE node_uptime SET ended_at = greatest(began_at, now()), end_code = ${code}
      FROM gone WHERE node_id = gone.id AND ended_at IS NULL)
    INSERT INTO node_transition (node_id, code) SELECT id, ${code} FROM gone`;
  if (gone > 0) logTransition(log, nodeId, code);
  else await assertKnown(database, nodeId);
}

async function assertKnown(database: Database, nodeId: NodeId): Promise<void> {
  const [node] = await database.$queryRaw<object[]>`SELECT id FROM node WHERE id = ${nodeId}`;
  if (!node) throw new CodedError('node.unknown');
}

/** The coordinator's line about a node that came or went. */
export function logTransition(log: Logger, nodeId: NodeId, code: TransitionCode): void {
  const fields = { node: shortId(nodeId), code };
  const isLoss = code === 'node.heartbeat_lost' || code === 'node.backend_gone';
  log[isLoss ? 'warn' : 'info'](fields, `coordinator // node: ${transitionMessage(code)}`);
}

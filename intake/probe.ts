import { WorkflowExecutionAlreadyStartedError } from '@temporalio/client';
import { defineSearchAttributeKey } from '@temporalio/common';
import { sql } from '../prisma/client.ts';
import { shortId, type NodeId } from '../protocol/ids.ts';
import {
  CANARY_LOST_SECONDS,
  PROBE_PAUSE_SECONDS,
  REMEASURE_SECONDS,
} from '../protocol/measure.ts';
import { COORDINATOR_QUEUE } from '../protocol/queues.ts';
import { ONLINE_SECONDS } from '../protocol/schedule.ts';
import type { canary } from '../workflows/canary.ts';
import type { BackgroundDependencies } from './background.ts';

/** Canaries that one round starts at most; the next one goes on. */
const ROUND_MAX = 64;
/** A sweep isn't held up by a Temporal that doesn't answer. */
const START_MS_MAX = 3_000;
const NODE = defineSearchAttributeKey('plxNode', 'KEYWORD');

interface Due {
  readonly id: NodeId;
  readonly probe: number;
}

/** A canary is under way from now on, and the next one isn't due for a while, whatever comes. */
const UNDER_WAY = sql`
  probe = node.probe + 1,
  probe_until = now() + make_interval(secs => ${CANARY_LOST_SECONDS}::float8),
  probe_after = now() + make_interval(secs => ${PROBE_PAUSE_SECONDS}::float8)`;

/** A node that hears what it is sent, and has no canary. */
const MAY_START = sql`
  is_ready AND is_online AND probe_after <= now()
  AND last_seen_at > now() - make_interval(secs => ${ONLINE_SECONDS}::float8)
  AND (probe_until IS NULL OR probe_until < now())`;

/**
 * Starts a canary for each node that is due for one and has none under way. One whose end never
 * came, because its run was terminated or lost, is no longer under way after a while.
 *
 * @returns the nodes in question.
 */
export async function probe(dependencies: BackgroundDependencies): Promise<readonly NodeId[]> {
  return startDue(
    dependencies,
    sql`SELECT id FROM node WHERE status = 'probing' AND ${MAY_START}
        ORDER BY probe_after LIMIT ${ROUND_MAX} FOR UPDATE SKIP LOCKED`,
  );
}

/**
 * Starts a canary for the active node that was measured longest ago, if that is long ago and its
 * machine is idle: only work measures it otherwise, and one unlucky sample can keep work away. The
 * node stays active meanwhile. One at a time, so that the network's own requests stay few.
 *
 * @returns the node in question, if any.
 */
export async function measureAgain(
  dependencies: BackgroundDependencies,
): Promise<readonly NodeId[]> {
  return startDue(
    dependencies,
    sql`SELECT id FROM node WHERE status = 'active' AND ${MAY_START}
          AND measured_at < now() - make_interval(secs => ${REMEASURE_SECONDS}::float8)
          AND NOT EXISTS (SELECT FROM slot
                          WHERE slot.machine_id = node.machine_id AND slot.unit_id IS NOT NULL)
        ORDER BY measured_at LIMIT 1 FOR UPDATE SKIP LOCKED`,
  );
}

/** @param chosen a SELECT of ids, which it locks. */
async function startDue(
  dependencies: BackgroundDependencies,
  chosen: ReturnType<typeof sql>,
): Promise<readonly NodeId[]> {
  const due = await dependencies.database.$queryRaw<Due[]>`
    UPDATE node SET ${UNDER_WAY} FROM (${chosen}) AS due WHERE node.id = due.id
    RETURNING node.id, node.probe`;
  await Promise.all(due.map((node) => start(dependencies, node)));
  return due.map(({ id }) => id);
}

/** What the sweeper sees to within a second, at once: a node came, or comes back as another. */
export function probeSoon(dependencies: BackgroundDependencies): void {
  probe(dependencies).catch((error: unknown) =>
    dependencies.log.warn({ error: String(error) }, 'coordinator // no canary started yet'),
  );
}

async function start({ database, client, log }: BackgroundDependencies, node: Due): Promise<void> {
  const { id: nodeId, probe: number } = node;
  try {
    await client.withDeadline(Date.now() + START_MS_MAX, () =>
      client.workflow.start<typeof canary>('canary', {
        workflowId: `canary_${nodeId}_${number}`,
        taskQueue: COORDINATOR_QUEUE,
        args: [{ nodeId, probe: number }],
        workflowIdReusePolicy: 'REJECT_DUPLICATE',
        typedSearchAttributes: [{ key: NODE, value: nodeId }],
        staticSummary: `canary · ${shortId(nodeId)}`,
      }),
    );
  } catch (error) {
    if (error instanceof WorkflowExecutionAlreadyStartedError) return;
    log.warn({ node: shortId(nodeId), error: String(error) }, 'sweeper // no canary started');
    // Tried again in the next round. If this one runs after all, its number is out of date.
    await database.$executeRaw`
      UPDATE node SET probe_until = NULL, probe_after = now()
      WHERE id = ${nodeId} AND probe = ${number}`;
  }
}

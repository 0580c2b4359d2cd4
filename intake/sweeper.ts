import { WorkflowNotFoundError, type Client } from '@temporalio/client';
import type { Logger } from 'pino';
import { abandon } from '../activities/receive.ts';
import { inTransaction, type Database, type Transaction } from '../prisma/client.ts';
import { shortId, type RequestId } from '../protocol/ids.ts';
import { ONLINE_SECONDS } from '../protocol/schedule.ts';
import type { wakeSignal } from '../workflows/unit.ts';
import { runState } from './run.ts';

const SWEEP_MS = 1_000;
/** Any number that all coordinators share: one of them sweeps at a time. */
const SWEEP_LOCK = 5_074_821;
/** A unit that couldn't use what it was woken for is left alone this long. */
const WAKE_AGAIN_SECONDS = 5;
/** A request whose workflow hasn't started by then never will: its gateway has given up too. */
const START_GRACE_SECONDS = 300;
const WAKE: (typeof wakeSignal)['name'] = 'wake';

export interface Sweeper {
  /** Sweeps soon: capacity may have appeared. Without effect while nothing is known to wait. */
  hint(): void;
  /** A unit begins to wait. */
  expect(): void;
  stop(): Promise<void>;
}

/**
 * The one background duty of a coordinator: wakes waiting units for which a slot became free, and
 * ends requests whose start was lost. Hints only make it sooner; a missed one costs a second.
 */
export function startSweeper(database: Database, client: Client, log: Logger): Sweeper {
  const stopped = new AbortController();
  let hinted: (() => void) | undefined;
  // What waits for another coordinator is seen within a second; here every request gives a hint.
  let anyWaiting = true;
  const loop = (async () => {
    while (!stopped.signal.aborted) {
      anyWaiting = false;
      try {
        const swept = await sweep(database, client, log);
        anyWaiting ||= swept.waiting > 0;
      } catch (error) {
        log.error({ error: String(error) }, 'sweeper // failed, will sweep again');
      }
      if (stopped.signal.aborted) break;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, SWEEP_MS);
        hinted = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      hinted = undefined;
    }
  })();
  return {
    hint() {
      if (anyWaiting) hinted?.();
    },
    expect() {
      anyWaiting = true;
    },
    async stop() {
      stopped.abort();
      hinted?.();
      await loop;
    },
  };
}

/** What one round found and did. */
export interface Swept {
  readonly woken: readonly string[];
  /** Units that waited; 0 as well when another coordinator was sweeping. */
  readonly waiting: number;
  readonly abandoned: readonly string[];
}

/** One round. @returns the units woken, how many wait, and the requests ended. */
export async function sweep(database: Database, client: Client, log: Logger): Promise<Swept> {
  const due = await inTransaction(database, async (transaction) => {
    const [lock] = await transaction.$queryRaw<{ held: boolean }[]>`
      SELECT pg_try_advisory_xact_lock(${SWEEP_LOCK}::bigint) AS held`;
    if (!lock?.held) return { wake: [], stale: [], waiting: 0 };
    const [row] = await transaction.$queryRaw<{ waiting: number }[]>`
      SELECT count(*)::int AS waiting FROM waiting`;
    const waiting = row?.waiting ?? 0;
    const wake = waiting > 0 ? await wakeable(transaction) : [];
    return { wake, stale: await stale(transaction), waiting };
  });
  for (const unitId of due.wake) await wake(client, database, unitId, log);
  const abandoned: string[] = [];
  for (const requestId of due.stale) {
    if ((await runState(client, requestId)) !== 'none') continue;
    if (!(await abandon(database, requestId))) continue;
    log.error({ request: shortId(requestId), code: 'receive.not_started' }, 'sweeper // abandoned');
    abandoned.push(requestId);
  }
  return { woken: due.wake, waiting: due.waiting, abandoned };
}

/**
 * Waiting units that a free slot would fit, in the waiting order: priority, then the largest first
 * (best-fit decreasing), then age. No more of them than there are free slots.
 */
async function wakeable(transaction: Transaction): Promise<string[]> {
  const rows = await transaction.$queryRaw<{ unit_id: string }[]>`
    WITH free AS (
      SELECT node.tier, node.model_digest
      FROM node JOIN slot ON slot.node_id = node.id
      WHERE node.status = 'active'
        AND node.last_seen_at > now() - make_interval(secs => ${ONLINE_SECONDS}::float8)
        AND (slot.unit_id IS NULL OR slot.lease_until < now())
    ), due AS (
      SELECT unit_id FROM waiting
      WHERE (woken_at IS NULL
             OR woken_at < now() - make_interval(secs => ${WAKE_AGAIN_SECONDS}::float8))
        AND EXISTS (SELECT FROM free WHERE free.model_digest = waiting.model_digest
                    AND free.tier >= waiting.tier)
      ORDER BY priority, complexity DESC, since
      LIMIT (SELECT count(*) FROM free)
    )
    UPDATE waiting SET woken_at = now() FROM due WHERE waiting.unit_id = due.unit_id
    RETURNING waiting.unit_id`;
  return rows.map(({ unit_id }) => unit_id);
}

async function stale(transaction: Transaction): Promise<RequestId[]> {
  const rows = await transaction.$queryRaw<{ id: RequestId }[]>`
    SELECT id FROM request
    WHERE status = 'accepted' AND finished_at IS NULL
      AND accepted_at < now() - make_interval(secs => ${START_GRACE_SECONDS}::float8)
      AND NOT EXISTS (SELECT FROM waiting WHERE unit_id = request.id)
    ORDER BY accepted_at LIMIT 100`;
  return rows.map(({ id }) => id);
}

async function wake(client: Client, database: Database, unitId: string, log: Logger) {
  try {
    await client.workflow.getHandle(unitId).signal(WAKE);
  } catch (error) {
    if (!(error instanceof WorkflowNotFoundError)) throw error;
    // Its workflow has ended without Schedule having the last word: it waits for nothing.
    await database.$executeRaw`DELETE FROM waiting WHERE unit_id = ${unitId}`;
    log.warn({ unit: unitId }, 'sweeper // a waiting unit had no workflow');
  }
}

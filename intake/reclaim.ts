import { abandon } from '../activities/receive.ts';
import { settleValidated } from '../activities/settle.ts';
import type { Database } from '../prisma/client.ts';
import type { RequestStatus } from '../prisma/requests.ts';
import { shortId, type RequestId } from '../protocol/ids.ts';
import type { BackgroundDependencies } from './background.ts';
import { runState, type RunState } from './run.ts';

/** How far back closed runs are looked for: visibility may lag behind, and a round may fail. */
const LOOK_BACK_MS = 120_000;
/** A request whose workflow hasn't started by then never will: its gateway has given up too. */
const START_GRACE_SECONDS = 300;
/** A start takes milliseconds; a request that is younger than this is left alone in any case. */
const STARTING_SECONDS = 10;
/** A run ends by itself soon after its deadline; one that is this late may be lost. */
const OVERDUE_SECONDS = 60;
const ROUND_MAX = 100;

/**
 * Ends requests whose run was ended from outside: terminated in Temporal UI, or failed. Their slots
 * and credit come back; what was validated is paid for. One call to Temporal however many run.
 *
 * @returns the requests that were ended.
 */
export async function reclaimClosed(
  dependencies: BackgroundDependencies,
): Promise<readonly RequestId[]> {
  const since = new Date(Date.now() - LOOK_BACK_MS).toISOString();
  const runs = dependencies.client.workflow.list({
    query:
      `WorkflowType = 'inference' AND CloseTime > '${since}' AND ` +
      `ExecutionStatus IN ('Terminated', 'Failed', 'TimedOut', 'Canceled')`,
  });
  const closed: string[] = [];
  for await (const { workflowId } of runs) closed.push(workflowId);
  if (closed.length === 0) return [];
  const open = await dependencies.database.$queryRaw<{ id: RequestId }[]>`
    SELECT id FROM request WHERE finished_at IS NULL AND id = ANY (${closed}::text[])`;
  const ended: RequestId[] = [];
  for (const { id } of open) if (await endLost(dependencies, id, 'closed')) ended.push(id);
  return ended;
}

/**
 * Ends requests that have no run: their start was lost, or Temporal has lost them (a power cut, a
 * namespace that was restored). Only those are asked about that should have ended by themselves.
 *
 * @param all whether to ask about every request that is open: when a coordinator starts, since that
 *   is when a power cut shows.
 * @returns the requests that were ended.
 */
export async function reclaimAbsent(
  dependencies: BackgroundDependencies,
  all = false,
): Promise<readonly RequestId[]> {
  const ended: RequestId[] = [];
  for (let after: RequestId | '' = ''; ;) {
    const ids: RequestId[] = await suspects(dependencies.database, all, after);
    for (const id of ids) {
      const state = await runState(dependencies.client, id);
      if (state !== 'open' && (await endLost(dependencies, id, state))) ended.push(id);
    }
    const last = ids.at(-1);
    if (last === undefined || ids.length < ROUND_MAX) return ended;
    after = last;
  }
}

async function suspects(
  database: Database,
  all: boolean,
  after: RequestId | '',
): Promise<RequestId[]> {
  const rows = await database.$queryRaw<{ id: RequestId }[]>`
    SELECT id FROM request
    WHERE finished_at IS NULL AND id > ${after}
      AND accepted_at < now() - make_interval(secs => ${STARTING_SECONDS}::float8)
      AND (${all}
           OR (status = 'accepted'
               AND accepted_at < now() - make_interval(secs => ${START_GRACE_SECONDS}::float8))
           OR deadline_at < now() - make_interval(secs => ${OVERDUE_SECONDS}::float8))
    ORDER BY id LIMIT ${ROUND_MAX}`;
  return rows.map(({ id }) => id);
}

/** @returns false when it has ended meanwhile. */
async function endLost(
  { database, log }: BackgroundDependencies,
  id: RequestId,
  run: Exclude<RunState, 'open'>,
): Promise<boolean> {
  if (await settleValidated(database, id)) {
    log.error({ request: shortId(id), run }, 'sweeper // settled without its run');
    return true;
  }
  const end = async (code: 'receive.not_started' | 'coordinator.run_lost', from: RequestStatus) => {
    const isEnded = await abandon(database, id, { status: 'failed', code, from: [from] });
    if (isEnded) log.error({ request: shortId(id), run, code }, 'sweeper // ended without its run');
    return isEnded;
  };
  const accepted = run === 'none' ? 'receive.not_started' : 'coordinator.run_lost';
  return (await end(accepted, 'accepted')) || end('coordinator.run_lost', 'running');
}

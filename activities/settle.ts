import { announceCancellation } from '../prisma/cancellations.ts';
import { keepCapacityDetail, type Wanted } from '../prisma/capacity.ts';
import { inTransaction, sql, type Database, type Transaction } from '../prisma/client.ts';
import { NEARNESS } from '../protocol/capacity.ts';
import { errorDefinition, type ErrorCode } from '../protocol/errors.ts';
import type { RequestId } from '../protocol/ids.ts';
import type { FinalState, StepRecord } from '../protocol/lifecycle.ts';
import type { AcceptedInference } from '../protocol/receive.ts';
import { ONLINE_SECONDS } from '../protocol/schedule.ts';
import {
  CHARGED,
  dueWei,
  settlement,
  type Settlement,
  type TokenUsage,
} from '../protocol/settle.ts';
import type { VerificationOutcome } from '../protocol/vote.ts';
import { announceOutcome } from '../prisma/outcomes.ts';
import { recordFailure } from './events.ts';
import { LOST_LEASE_SECONDS } from './report-failure.ts';

export interface SettleInput {
  readonly requestId: RequestId;
  readonly accountId: string;
  readonly state: FinalState;
  readonly code: ErrorCode | null;
  /** What is charged for, if the state is one that is charged; null when there is nothing. */
  readonly usage: TokenUsage | null;
  readonly price: AcceptedInference['price'];
  readonly reservedWei: string;
  readonly timeline: readonly StepRecord[];
}

export interface SettleResult {
  readonly chargedWei: string;
  readonly elapsedMs: number;
}

/**
 * Step 9 for one request: captures what was delivered, releases the rest, and writes the final
 * state, in one transaction. A second run finds the request finished and changes nothing.
 */
export async function settle(database: Database, input: SettleInput): Promise<SettleResult> {
  const startedAt = performance.now();
  const { requestId, state, code } = input;
  const usedWei = input.usage ? dueWei(input.usage, input) : 0n;
  const due = settlement(state, BigInt(input.reservedWei), usedWei);
  const chargedWei =
    (state === 'completed'
      ? await end(database, input, due, startedAt)
      : await inTransaction(database, async (transaction) => {
          const charged = await end(transaction, input, due, startedAt);
          if (charged !== null) await giveUp(transaction, requestId, code);
          return charged;
        })) ?? (await chargedBefore(database, requestId));
  return { chargedWei, elapsedMs: performance.now() - startedAt };
}

/**
 * Step 9 for a request that was validated and whose run is lost: what was delivered is paid for.
 *
 * @returns false when it isn't such a request, or has ended meanwhile.
 */
export async function settleValidated(database: Database, requestId: RequestId): Promise<boolean> {
  // Its run was to have it checked. Before the look: a vote that is just being counted comes first.
  await database.$executeRaw`
    INSERT INTO verification (unit_id, outcome, winner, comparator)
    SELECT unit_id, 'hash_only', dispatch, 'none' FROM proof JOIN request ON request.id = unit_id
    WHERE unit_id = ${requestId} AND is_sampled AND status = 'validated' AND due_wei IS NOT NULL
    ON CONFLICT (unit_id) DO NOTHING`;
  const [row] = await database.$queryRaw<LostRow[]>`
    SELECT account_id AS "accountId", due_wei::text AS due, reserved_wei::text AS reserved,
           outcome, winner::text = proof ->> 'dispatch' AS "isWinner"
    FROM request LEFT JOIN verification ON unit_id = id
    WHERE id = ${requestId} AND status = 'validated' AND due_wei IS NOT NULL`;
  if (!row) return false;
  const { state, code } = stateOfLost(row);
  const due = settlement(state, BigInt(row.reserved), BigInt(row.due));
  const { accountId } = row;
  const unfinished = { requestId, accountId, state, code, usage: null, timeline: [] };
  return (await end(database, unfinished, due, performance.now())) !== null;
}

interface LostRow {
  readonly accountId: string;
  readonly due: string;
  readonly reserved: string;
  readonly outcome: VerificationOutcome | null;
  /** Whether what was delivered is what most have. */
  readonly isWinner: boolean | null;
}

function stateOfLost({ outcome, isWinner }: LostRow): Pick<SettleInput, 'state' | 'code'> {
  if (outcome === 'no_majority') return { state: 'failed', code: 'validate.no_majority' };
  if (outcome === 'overruled' && !isWinner)
    return { state: 'invalidated', code: 'validate.overruled' };
  return { state: 'completed', code: null };
}

/**
 * One statement: moves the money and writes the final state, unless that was done before.
 *
 * @returns what the request was charged now; null when it had ended.
 */
async function end(
  transaction: Transaction,
  {
    requestId,
    accountId,
    state,
    code,
    timeline,
    usage,
  }: Omit<SettleInput, 'price' | 'reservedWei'>,
  { captureWei, releaseWei }: Settlement,
  startedAt: number,
): Promise<string | null> {
  const elapsedMs = performance.now() - startedAt;
  const records = timeline.map((record) =>
    record.step === 'settle' ? { ...record, state: 'done', elapsedMs } : record,
  );
  const [row] = await transaction.$queryRaw<{ charged_wei: string }[]>`
    WITH open AS (
      SELECT id, ledger_settle(id, ${accountId}, ${captureWei.toString()}::numeric,
                               ${releaseWei.toString()}::numeric)::text AS settled
      FROM (SELECT id FROM request WHERE id = ${requestId} AND finished_at IS NULL FOR UPDATE)
           AS unsettled)
    UPDATE request SET status = ${state}, failure_code = ${code}, finished_at = now(),
      charged_wei = ${captureWei.toString()}::numeric,
      timeline = ${JSON.stringify(records)}::jsonb, ${tokensOf(state, usage)}
    FROM open WHERE request.id = open.id AND open.settled IS NOT NULL
    RETURNING request.charged_wei::text`;
  return row?.charged_wei ?? null;
}

/** What is charged for; of a run that was lost, what was stored as it was validated. */
function tokensOf(state: FinalState, usage: TokenUsage | null) {
  if (state === 'completed' && !usage)
    return sql`prompt_tokens = prompt_tokens, completion_tokens = completion_tokens`;
  const { promptTokens = null, completionTokens = null } =
    usage && CHARGED.includes(state) ? usage : {};
  return sql`prompt_tokens = ${promptTokens}::bigint,
    completion_tokens = ${completionTokens}::bigint`;
}

/** In a statement of its own: the one that found the request ended may see it as it was before. */
async function chargedBefore(database: Database, requestId: RequestId): Promise<string> {
  const [row] = await database.$queryRaw<{ charged_wei: string }[]>`
    SELECT charged_wei::text FROM request WHERE id = ${requestId}`;
  if (!row) throw new Error(`${requestId} has a workflow but no record`);
  return row.charged_wei;
}

/** What an end without a result leaves to do; a completed request was announced by Validate. */
async function giveUp(
  transaction: Transaction,
  requestId: RequestId,
  code: ErrorCode | null,
): Promise<void> {
  if (code === 'schedule.deadline_elapsed') await keepReason(transaction, requestId);
  // What is still leased was given up in the middle: a cancellation, or a step that failed.
  await transaction.$queryRaw`
    SELECT withdraw_unit(${requestId}, ${LOST_LEASE_SECONDS}::float8)::text`;
  await announceCancellation(transaction, requestId);
  if (code !== null) await reportEnd(transaction, requestId, code);
  await announceOutcome(transaction, requestId);
}

/** Of a request whose deadline came just as it began to wait: Schedule had no reason to give. */
async function keepReason(transaction: Transaction, requestId: RequestId): Promise<void> {
  const [waiting] = await transaction.$queryRaw<{ input: Wanted | null }[]>`
    SELECT input FROM waiting WHERE unit_id = ${requestId}`;
  if (waiting?.input)
    await keepCapacityDetail(transaction, waiting.input, NEARNESS, ONLINE_SECONDS);
}

/** The event of an end that belongs to no attempt; those of attempts are written as they fail. */
async function reportEnd(
  transaction: Transaction,
  requestId: RequestId,
  code: ErrorCode,
): Promise<void> {
  if (errorDefinition(code).recovery === 'redispatch') return;
  await recordFailure(transaction, { unitId: requestId, dispatch: 0, code });
}

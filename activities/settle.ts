import { inTransaction, type Database, type Transaction } from '../prisma/client.ts';
import { settleReservation } from '../prisma/ledger.ts';
import { errorDefinition, type ErrorCode } from '../protocol/errors.ts';
import type { RequestId } from '../protocol/ids.ts';
import type { FinalState, StepRecord } from '../protocol/lifecycle.ts';
import type { AcceptedInference } from '../protocol/receive.ts';
import { priceWei, settlement, type TokenUsage } from '../protocol/settle.ts';
import { announceOutcome } from '../prisma/outcomes.ts';
import { LOST_LEASE_SECONDS } from './report-failure.ts';

export interface SettleInput {
  readonly requestId: RequestId;
  readonly accountId: string;
  readonly state: FinalState;
  readonly code: ErrorCode | null;
  /** Of the accepted result; null when there is none. */
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
  const usedWei = input.usage
    ? priceWei(input.usage, {
        promptWei: BigInt(input.price.promptWei),
        completionWei: BigInt(input.price.completionWei),
      })
    : 0n;
  const { captureWei, releaseWei } = settlement(state, BigInt(input.reservedWei), usedWei);
  const chargedWei = await inTransaction(database, async (transaction) => {
    const [open] = await transaction.$queryRaw<{ finished: boolean; charged_wei: string }[]>`
      SELECT finished_at IS NOT NULL AS finished, charged_wei::text
      FROM request WHERE id = ${requestId} FOR UPDATE`;
    if (!open) throw new Error(`${requestId} has a workflow but no record`);
    if (open.finished) return open.charged_wei;
    await settleReservation(transaction, requestId, input.accountId, captureWei, releaseWei);
    const elapsedMs = performance.now() - startedAt;
    const timeline = input.timeline.map((record) =>
      record.step === 'settle' ? { ...record, state: 'done', elapsedMs } : record,
    );
    await transaction.$executeRaw`
      UPDATE request SET status = ${state}, failure_code = ${code}, finished_at = now(),
        charged_wei = ${captureWei.toString()}::numeric,
        timeline = ${JSON.stringify(timeline)}::jsonb
      WHERE id = ${requestId}`;
    await transaction.$executeRaw`DELETE FROM waiting WHERE unit_id = ${requestId}`;
    // What is still leased was given up in the middle: a cancellation, or a step that failed.
    // A completed request has given its slot back already: no statement on the fast path.
    if (state !== 'completed')
      await transaction.$executeRaw`
        UPDATE slot SET lease_until = least(lease_until,
          now() + make_interval(secs => ${LOST_LEASE_SECONDS}::float8))
        WHERE unit_id = ${requestId}`;
    if (code !== null) await reportEnd(transaction, requestId, code);
    await announceOutcome(transaction, requestId);
    return captureWei.toString();
  });
  return { chargedWei, elapsedMs: performance.now() - startedAt };
}

/** The event of an end that belongs to no attempt; those of attempts are written as they fail. */
async function reportEnd(
  transaction: Transaction,
  requestId: RequestId,
  code: ErrorCode,
): Promise<void> {
  const { step, recovery } = errorDefinition(code);
  if (recovery === 'redispatch') return;
  await transaction.$executeRaw`
    INSERT INTO failure_event (unit_id, dispatch, step, code, recovery)
    VALUES (${requestId}, 0, ${step}, ${code}, ${recovery})
    ON CONFLICT (unit_id, dispatch, code) DO NOTHING`;
}

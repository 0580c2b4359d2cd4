import type { Database } from '../prisma/client.ts';
import { CodedError, type ErrorCode } from '../protocol/errors.ts';
import { cancelledUsage, type TokenUsage } from '../protocol/settle.ts';
import { reportFailure } from './report-failure.ts';
import {
  checkReturn,
  type CheckedReturn,
  type ValidateDependencies,
  type ValidateInput,
} from './validate.ts';

export type TakeCancelledResult =
  /** `usage` is what is charged: nothing, unless some of it was streamed to the requester. */
  | { readonly kind: 'taken'; readonly usage: TokenUsage; readonly elapsedMs: number }
  /** A faulty return: free, and written down, but nothing comes of it. */
  | { readonly kind: 'rejected'; readonly code: ErrorCode };

/**
 * What Validate is to an attempt that the requester cancelled (design §5): the same check 1, only
 * that the answer may be cut short. The result isn't stored nor delivered; what was streamed of it
 * is charged. The node is done with it either way, so its slot is free.
 */
export async function takeCancelled(
  dependencies: ValidateDependencies,
  input: ValidateInput,
): Promise<TakeCancelledResult> {
  const startedAt = performance.now();
  const { unitId, dispatch, node } = input;
  let checked: CheckedReturn;
  try {
    checked = await checkReturn(dependencies, input, true);
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    const { code } = error;
    await reportFailure(dependencies.database, { unitId, dispatch, nodeId: node.nodeId, code });
    return { kind: 'rejected', code };
  }
  await decide(dependencies.database, input, checked);
  const usage = cancelledUsage(checked.result.usage, checked.relayed?.deltaFrames ?? 0);
  return { kind: 'taken', usage, elapsedMs: performance.now() - startedAt };
}

/** One statement: the attempt is over. */
async function decide(
  database: Database,
  { unitId, dispatch }: ValidateInput,
  { returned: { decryptedAtMs, finishedAtMs } }: CheckedReturn,
): Promise<void> {
  const outcome: ErrorCode = 'execute.cancelled';
  await database.$queryRaw`
    WITH decided AS (
      UPDATE dispatch SET outcome = ${outcome}, decided_at = now(),
        decrypted_at = ${new Date(decryptedAtMs)}, finished_at = ${new Date(finishedAtMs)}
      WHERE unit_id = ${unitId} AND dispatch = ${dispatch} AND outcome IS NULL)
    SELECT release_slot(${unitId}, ${dispatch}::int)`;
}

import type { Transaction } from '../prisma/client.ts';
import { errorDefinition, type ErrorCode } from '../protocol/errors.ts';
import type { NodeId, UnitId } from '../protocol/ids.ts';

/** What happened to a unit. */
export interface UnitEvent {
  readonly unitId: UnitId;
  /** 0 for what belongs to no attempt. */
  readonly dispatch: number;
  readonly code: ErrorCode;
}

/** Appends a failure, once per attempt and code. */
export async function recordFailure(
  transaction: Pick<Transaction, '$executeRaw'>,
  { unitId, dispatch, code }: UnitEvent,
  nodeId: NodeId | null = null,
): Promise<void> {
  const { step, recovery } = errorDefinition(code);
  await transaction.$executeRaw`
    INSERT INTO failure_event (unit_id, dispatch, step, code, node_id, recovery)
    VALUES (${unitId}, ${dispatch}, ${step}, ${code}, ${nodeId}, ${recovery})
    ON CONFLICT (unit_id, dispatch, code) DO NOTHING`;
}

/**
 * Appends a flag against a node, once per attempt and code.
 *
 * @returns 0 when that was done before.
 */
export function flagNode(
  transaction: Pick<Transaction, '$executeRaw'>,
  { unitId, dispatch, code }: UnitEvent,
  nodeId: NodeId,
): Promise<number> {
  return transaction.$executeRaw`
    INSERT INTO node_event (node_id, unit_id, dispatch, code)
    VALUES (${nodeId}, ${unitId}, ${dispatch}, ${code})
    ON CONFLICT (node_id, unit_id, dispatch, code) DO NOTHING`;
}

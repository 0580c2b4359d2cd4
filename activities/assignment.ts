import type { NodeId } from '../protocol/ids.ts';
import type { Assignment } from './schedule.ts';

/** What of a node's row an assignment is made of. */
export interface AssignmentRow {
  id: NodeId;
  operator_id: string;
  engine: string;
  encryption_key: Uint8Array;
  signing_key: Uint8Array;
}

/** Keys as they go through a workflow: in base64. */
export function assignment(row: AssignmentRow): Assignment {
  return {
    nodeId: row.id,
    operatorId: row.operator_id,
    engine: row.engine,
    encryptionKey: Buffer.from(row.encryption_key).toString('base64'),
    signingKey: Buffer.from(row.signing_key).toString('base64'),
  };
}

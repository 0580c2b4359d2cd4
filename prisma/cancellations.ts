import type { NodeId, UnitId } from '../protocol/ids.ts';
import type { Transaction } from './client.ts';
import type { NotificationHandler } from './notifications.ts';

/** Notifications on it say which attempt a node may stop. */
const CANCELLATION_CHANNEL = 'plx_cancel';

/** An attempt that nobody waits for any more. */
export interface Cancellation {
  readonly nodeId: NodeId;
  readonly unitId: UnitId;
  readonly dispatch: number;
}

/**
 * Has the nodes told that still work on a unit, whichever coordinator they are connected to. One
 * that isn't connected, or a notification that is lost, only costs time: Temporal tells it too.
 *
 * @param dispatch an attempt that was just given up, and so is decided.
 */
export async function announceCancellation(
  transaction: Pick<Transaction, '$queryRaw'>,
  unitId: string,
  dispatch: number | null = null,
): Promise<void> {
  await transaction.$queryRaw`
    SELECT pg_notify(${CANCELLATION_CHANNEL}, concat_ws(' ', node_id, unit_id, dispatch))::text
    FROM dispatch
    WHERE unit_id = ${unitId} AND CASE
      WHEN ${dispatch}::int IS NOT NULL THEN dispatch = ${dispatch}::int
      -- What was delivered is checked to the end.
      ELSE outcome IS NULL AND NOT (is_check AND EXISTS (
        SELECT FROM request WHERE id = ${unitId} AND sealed_result IS NOT NULL)) END`;
}

/** Calls `onCancellation` for each that any coordinator announces. */
export function cancellationHandler(
  onCancellation: (cancellation: Cancellation) => void,
): NotificationHandler {
  return {
    channel: CANCELLATION_CHANNEL,
    onNotification(payload) {
      const [nodeId, unitId, dispatch] = payload.split(' ');
      onCancellation({
        nodeId: nodeId as NodeId,
        unitId: unitId as UnitId,
        dispatch: Number(dispatch),
      });
    },
  };
}

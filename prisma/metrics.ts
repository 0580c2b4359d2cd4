import type { Database } from './client.ts';

/** The network as it is now, in numbers. */
export interface NetworkNumbers {
  /** Units that wait for a node. */
  readonly waiting: number;
  /** For how long the one that came first has waited; 0 when none does. */
  readonly oldestSeconds: number;
  /** Of nodes that are in the pool and send heartbeats. */
  readonly slotsTotal: number;
  readonly slotsFree: number;
  /** Requests whose money is set aside. */
  readonly reservations: number;
}

/** One statement: counts what a coordinator shows of the network. */
export async function readNumbers(database: Database): Promise<NetworkNumbers> {
  const [row] = await database.$queryRaw<NetworkNumbers[]>`
    SELECT queue.waiting, queue."oldestSeconds", slots."slotsTotal", slots."slotsFree",
           (SELECT count(*)::int FROM request WHERE finished_at IS NULL) AS reservations
    FROM (SELECT count(*)::int AS waiting,
                 coalesce(extract(epoch FROM now() - min(since)), 0)::float8 AS "oldestSeconds"
          FROM waiting WHERE assigned_at IS NULL) AS queue,
         (SELECT count(*)::int AS "slotsTotal",
                 count(*) FILTER (WHERE unit_id IS NULL OR lease_until < now())::int AS "slotsFree"
          FROM slot WHERE EXISTS (
            SELECT FROM node
            WHERE node.machine_id = slot.machine_id AND slot.index < node.slots
              AND node.status = 'active' AND node.is_online)) AS slots`;
  if (!row) throw new Error('the database counted nothing');
  return row;
}

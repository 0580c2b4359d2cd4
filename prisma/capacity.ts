import type { CapacityDetail, CapacityPredicate } from '../protocol/capacity.ts';
import type { UnitId } from '../protocol/ids.ts';
import type { RequestParameters } from '../protocol/receive.ts';
import type { Transaction } from './client.ts';

/** What a unit asked of nodes. */
export interface Wanted {
  readonly unitId: UnitId;
  readonly usedNodes: readonly string[];
  readonly request: {
    readonly parameters: RequestParameters;
    readonly modelDigest: string;
    readonly complexity: number;
  };
}

/**
 * One statement: keeps with a request why no node took it before its deadline, unless that is known
 * already. Of the filters the one that the nearest node fails.
 *
 * @param nearness the filters, the one of the farthest node first.
 * @param onlineSeconds since a heartbeat, within which a node counts as online.
 */
export async function keepCapacityDetail(
  database: Pick<Transaction, '$executeRaw'>,
  { unitId, usedNodes, request }: Wanted,
  nearness: readonly CapacityPredicate[],
  onlineSeconds: number,
): Promise<void> {
  const { parameters, modelDigest, complexity } = request;
  const none: CapacityPredicate = 'no_nodes';
  const names: (keyof CapacityDetail)[] = ['predicate', 'queue_position', 'queue_length'];
  await database.$executeRaw`
    WITH seen AS (
      SELECT CASE
          WHEN NOT ${parameters.workloadClass} = ANY (workload_classes) THEN 'workload_class'
          WHEN model_digest <> ${modelDigest} THEN 'model'
          WHEN NOT features @> ${[...(parameters.features ?? [])]}::text[] THEN 'features'
          WHEN status = 'probing' THEN 'probing'
          WHEN tier < ${parameters.hardwareTier} THEN 'tier'
          WHEN tokens_per_second * ${parameters.deadlineSeconds}::float8 < ${complexity}::float8
            THEN 'too_slow_for_deadline'
          WHEN id = ANY (${[...usedNodes]}::text[]) THEN 'already_used'
          WHEN status = 'draining' THEN 'draining'
          WHEN NOT is_online
            OR last_seen_at <= now() - make_interval(secs => ${onlineSeconds}::float8)
            THEN 'offline'
          WHEN NOT is_ready THEN 'backend_gone'
          WHEN NOT EXISTS (SELECT FROM slot
              WHERE slot.machine_id = node.machine_id AND slot.index < node.slots
                AND (slot.unit_id IS NULL OR slot.lease_until < now())) THEN 'no_free_slot'
          ELSE 'others_first' END AS filter
      FROM node WHERE status <> 'removed'),
    nearest AS (
      SELECT filter FROM seen
      ORDER BY array_position(${[...nearness]}::text[], filter) DESC LIMIT 1),
    own AS (SELECT place_ms, unit_id FROM waiting WHERE unit_id = ${unitId}),
    queue AS (
      SELECT count(*)::int AS length,
             count(*) FILTER (WHERE (waiting.place_ms, waiting.unit_id) <=
                                    (own.place_ms, own.unit_id))::int AS place
      FROM waiting LEFT JOIN own ON TRUE
      WHERE waiting.assigned_at IS NULL OR waiting.unit_id = ${unitId})
    UPDATE request SET failure_detail = jsonb_build_object(
        ${names[0]}::text, coalesce((SELECT filter FROM nearest), ${none}),
        ${names[1]}::text, nullif(queue.place, 0),
        ${names[2]}::text, queue.length)
    FROM queue
    WHERE id = ${unitId} AND failure_detail IS NULL`;
}

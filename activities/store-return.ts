import { sql, type Database } from '../prisma/client.ts';
import { OUTCOME_CHANNEL } from '../prisma/outcomes.ts';
import type { ReturnEnvelope } from '../protocol/envelope.ts';
import type { NodeId, UnitId } from '../protocol/ids.ts';
import { complexityTokens } from '../protocol/receive.ts';
import { PPM } from '../protocol/sampling.ts';
import { dueWei, type TokenUsage } from '../protocol/settle.ts';
import type { Draw } from './sampling.ts';
import type { CheckerOrder } from './checkers.ts';
import type { CheckedReturn, ValidateDependencies, ValidateInput } from './validate.ts';

interface StoredRow {
  isSampled: boolean | null;
  epoch: number | null;
  isRemoved: boolean;
}

/** A stored return; with an order if it was drawn to be checked. */
export interface StoredReturn {
  readonly checkerOrder?: CheckerOrder;
}

/**
 * Stores a return that passed check 1: its PoE with the epoch, the rate and the draw, once; and,
 * unless it is held back until it was checked, the result. Run again it finds what the first run
 * has drawn.
 *
 * @returns null when its node was removed from the pool meanwhile.
 */
export async function storeReturn(
  { database, sampling }: Pick<ValidateDependencies, 'database' | 'sampling'>,
  input: ValidateInput,
  checked: CheckedReturn,
  sealedResult: ReturnEnvelope,
): Promise<StoredReturn | null> {
  const { unitId, request } = input;
  const poe = String(checked.returned.poe);
  const { workloadClass } = request.parameters;
  for (const isFirst of [true, false]) {
    const draws = sampling.draws(unitId, poe, workloadClass);
    const row = await store(database, input, checked, sealedResult, draws);
    if (row.isSampled && row.epoch !== null)
      return { checkerOrder: sampling.order(row.epoch, unitId, poe) };
    if (row.isSampled !== null) return {};
    if (row.isRemoved) return null;
    // An epoch began that wasn't known here, or a run of this beside this one has stored it.
    if (isFirst) await sampling.refresh();
  }
  throw new Error(`nothing could be drawn for ${unitId}`);
}

/** One statement, all of it or nothing. */
async function store(
  database: Database,
  input: ValidateInput,
  checked: CheckedReturn,
  sealedResult: ReturnEnvelope,
  draws: readonly Draw[],
): Promise<StoredRow> {
  const { unitId, dispatch, node, request } = input;
  const { nodeId } = node;
  const { poe } = checked.returned;
  const accepted = { dispatch, nodeId, ...checked };
  const isHeld = request.delivery === 'strict';
  const [row] = await database.$queryRaw<StoredRow[]>`
    WITH known AS (
      SELECT is_sampled, epoch FROM proof WHERE unit_id = ${unitId} AND dispatch = ${dispatch}),
    worker AS (
      SELECT status = 'removed' AS is_removed, coalesce(
        (SELECT checked FROM node_trust WHERE node_id = node.id
           AND workload_class = ${request.parameters.workloadClass}), 0) AS checked
      FROM node WHERE id = ${nodeId}),
    drawn AS (
      SELECT epoch, draw, draw_ppm,
             CASE WHEN checked < probation THEN ${PPM}::int ELSE rate_ppm END AS rate_ppm
      FROM worker, unnest(
        ${draws.map(({ epoch }) => epoch)}::int[], ${draws.map(({ draw }) => draw)}::text[],
        ${draws.map((each) => each.drawPpm)}::int[], ${draws.map((each) => each.ratePpm)}::int[],
        ${draws.map(({ probationUnits }) => probationUnits)}::int[])
        AS candidate (epoch, draw, draw_ppm, rate_ppm, probation)
      WHERE NOT is_removed AND NOT EXISTS (SELECT FROM known)
        AND epoch = (SELECT max(epoch) FROM sampling_epoch WHERE begins_at <= now())),
    proved AS (
      INSERT INTO proof (unit_id, dispatch, node_id, poe, epoch, rate_ppm, draw, is_sampled)
      SELECT ${unitId}, ${dispatch}::int, ${nodeId}, ${String(poe)}, epoch, rate_ppm, draw,
             draw_ppm < rate_ppm FROM drawn
      ON CONFLICT (unit_id, dispatch) DO NOTHING RETURNING is_sampled, epoch),
    stored AS (SELECT is_sampled, epoch FROM proved UNION ALL SELECT * FROM known),
    decided AS (${attemptOver(input, checked)} AND EXISTS (SELECT FROM stored)
      RETURNING extract(epoch FROM now() - reserved_at)::float8 AS seconds),
    validated AS (
      ${delivered(unitId, accepted, sealedResult, request)}
        AND EXISTS (SELECT FROM stored WHERE NOT (is_sampled AND ${isHeld})))
    SELECT (SELECT is_sampled FROM stored) AS "isSampled", (SELECT epoch FROM stored) AS epoch,
           coalesce((SELECT is_removed FROM worker), FALSE) AS "isRemoved",
           CASE WHEN EXISTS (SELECT FROM stored) THEN ${over(input, checked)} END AS released,
           CASE WHEN EXISTS (SELECT FROM stored)
             THEN pg_notify(${OUTCOME_CHANNEL}, ${unitId})::text END AS announced`;
  if (!row) throw new Error('SELECT without FROM returned no row');
  return row;
}

/**
 * Stores the PoE of a check, which is a vote and isn't drawn itself, and ends its attempt.
 *
 * @returns false when its node was removed from the pool meanwhile.
 */
export async function storeCheck(
  database: Database,
  input: ValidateInput,
  checked: CheckedReturn,
): Promise<boolean> {
  const { unitId, dispatch, node } = input;
  const [row] = await database.$queryRaw<{ isStored: boolean }[]>`
    WITH worker AS (SELECT id FROM node WHERE id = ${node.nodeId} AND status <> 'removed'),
    proved AS (
      INSERT INTO proof (unit_id, dispatch, node_id, poe)
      SELECT ${unitId}, ${dispatch}::int, id, ${String(checked.returned.poe)} FROM worker
      ON CONFLICT (unit_id, dispatch) DO NOTHING),
    decided AS (${attemptOver(input, checked)} AND EXISTS (SELECT FROM worker)
      RETURNING extract(epoch FROM now() - reserved_at)::float8 AS seconds)
    SELECT EXISTS (SELECT FROM worker) AS "isStored",
           CASE WHEN EXISTS (SELECT FROM worker) THEN ${over(input, checked)} END AS released`;
  return row?.isStored ?? false;
}

/** A result to deliver, and the attempt that it is of. */
interface Deliverable {
  readonly dispatch: number;
  readonly nodeId: NodeId;
  readonly returned: {
    readonly scheme?: unknown;
    readonly poe?: unknown;
    readonly signature?: unknown;
  };
  readonly result: { readonly usage: TokenUsage };
}

/** Makes a result the request's, unless it has ended. The result is sealed to its requester. */
export function delivered(
  unitId: UnitId,
  { dispatch, nodeId, returned, result }: Deliverable,
  sealedResult: ReturnEnvelope,
  request: Parameters<typeof dueWei>[1],
) {
  const { scheme, poe, signature } = returned;
  const proof = { scheme, poe, signature, node: nodeId, dispatch };
  const due = dueWei(result.usage, request);
  return sql`
    UPDATE request SET status = 'validated', validated_at = now(),
      sealed_result = ${JSON.stringify(sealedResult)}::jsonb,
      proof = ${JSON.stringify(proof)}::jsonb, due_wei = ${due.toString()}::numeric,
      prompt_tokens = ${result.usage.promptTokens}::bigint,
      completion_tokens = ${result.usage.completionTokens}::bigint
    WHERE id = ${unitId} AND status IN ('accepted', 'running')`;
}

/** Decides the attempt, unless that was done before. */
function attemptOver({ unitId, dispatch }: ValidateInput, { returned }: CheckedReturn) {
  return sql`
    UPDATE dispatch SET outcome = 'accepted', decided_at = now(),
      decrypted_at = ${new Date(returned.decryptedAtMs)},
      finished_at = ${new Date(returned.finishedAtMs)}
    WHERE unit_id = ${unitId} AND dispatch = ${dispatch} AND outcome IS NULL`;
}

/** Frees the node's slot and measures it by what it did, in the time that \`decided\` tells. */
function over({ unitId, dispatch, node, request }: ValidateInput, { result }: CheckedReturn) {
  const tokens = complexityTokens(
    request.payloadBytes,
    result.usage.completionTokens,
    result.choices.length,
  );
  return sql`ARRAY[release_slot(${unitId}, ${dispatch}::int),
    measure_node(${node.nodeId}, ${tokens}::float8, (SELECT seconds FROM decided))]::text`;
}

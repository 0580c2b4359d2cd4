import type { AttemptRow } from '../protocol/explanation.ts';
import type { Transaction } from './client.ts';

/** One attempt at a request, with its node's own times; null before, and when it proved none. */
export interface TimedAttempt extends AttemptRow {
  readonly decryptedAt: Date | null;
  readonly executedAt: Date | null;
}

/** What a request costs, and how that is made up. Amounts are decimal wei. */
export interface RequestCost {
  /** Null for requests of before there were prices by version. */
  readonly priceVersion: number | null;
  /** Per token. */
  readonly promptPriceWei: string | null;
  readonly completionPriceWei: string | null;
  /** Of what was charged for; null when nothing was. */
  readonly promptTokens: number | null;
  readonly completionTokens: number | null;
}

/** The attempts at one request, in the order in which they were dispatched. */
export function readTimedAttempts(
  database: Pick<Transaction, '$queryRaw'>,
  requestId: string,
): Promise<TimedAttempt[]> {
  return database.$queryRaw<TimedAttempt[]>`
    SELECT dispatch, node_id AS "nodeId", node.name AS "nodeName", reserved_at AS "reservedAt",
           decrypted_at AS "decryptedAt", finished_at AS "executedAt", decided_at AS "decidedAt",
           outcome, is_check AS "isCheck"
    FROM dispatch LEFT JOIN node ON node.id = node_id
    WHERE unit_id = ${requestId} ORDER BY dispatch`;
}

/** Reads how the cost of one request is made up; undefined when there is none of that id. */
export async function readRequestCost(
  database: Pick<Transaction, '$queryRaw'>,
  requestId: string,
): Promise<RequestCost | undefined> {
  const [row] = await database.$queryRaw<RequestCost[]>`
    SELECT price_version AS "priceVersion",
           price.prompt_price_wei::text AS "promptPriceWei",
           price.completion_price_wei::text AS "completionPriceWei",
           prompt_tokens::float8 AS "promptTokens",
           completion_tokens::float8 AS "completionTokens"
    FROM request LEFT JOIN price ON price.model_id = request.model_id
      AND price.version = request.price_version
      AND price.hardware_tier = (request.parameters ->> 'hardwareTier')::int
      AND price.priority = request.parameters ->> 'priority'
    WHERE request.id = ${requestId}`;
  return row;
}

import type { Transaction } from './client.ts';

/** What of a request its answer's headers tell. */
export interface AnswerFacts {
  /** Checks aren't counted. */
  readonly attempts: number;
  /** Whose result it is; null without one. */
  readonly node: string | null;
  /** Decimal wei: what was charged; before the end, what the result will be charged. */
  readonly costWei: string;
  /** By the node's clock, of the attempt whose result it is; null without one. */
  readonly executionMs: number | null;
}

/** One statement, by primary keys. @returns undefined when there is no such request. */
export async function readAnswerFacts(
  database: Pick<Transaction, '$queryRaw'>,
  requestId: string,
): Promise<AnswerFacts | undefined> {
  const [row] = await database.$queryRaw<AnswerFacts[]>`
    SELECT (SELECT count(*) FROM dispatch
            WHERE unit_id = request.id AND NOT is_check)::int AS attempts,
           proof ->> 'node' AS node,
           CASE WHEN request.finished_at IS NULL THEN coalesce(due_wei, 0)
                ELSE charged_wei END::text AS "costWei",
           extract(epoch FROM answered.finished_at - answered.decrypted_at)::float8 * 1000
             AS "executionMs"
    FROM request LEFT JOIN dispatch AS answered
      ON answered.unit_id = request.id AND answered.dispatch = (proof ->> 'dispatch')::int
    WHERE request.id = ${requestId}`;
  return row;
}

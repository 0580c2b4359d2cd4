import { Prisma } from './generated/client.ts';
import type { Transaction } from './client.ts';

/** By what usage is added up: days are UTC's. */
export const USAGE_GROUPS = ['day', 'model', 'key'] as const;
export type UsageGroup = (typeof USAGE_GROUPS)[number];

/** Requests that were accepted in a time, added up. Money is decimal wei. */
export interface UsageSums {
  readonly requests: number;
  /** Of them: those that are still under way. */
  readonly open: number;
  /** Those that ended with a result that stands. */
  readonly completed: number;
  readonly promptTokens: string;
  readonly completionTokens: string;
  /** Set aside for those that are under way. */
  readonly reservedWei: string;
  readonly chargedWei: string;
  readonly refundedWei: string;
  /** Charged less refunded. */
  readonly spentWei: string;
}

/** Sums of one group: what it isn't grouped by is null, and so is the key of what had none. */
export interface UsageRow extends UsageSums {
  /** As `2026-11-25`. */
  readonly day: string | null;
  readonly model: string | null;
  readonly key: string | null;
}

export interface UsageFilter {
  readonly accountId: string;
  /** Accepted at that time or later. */
  readonly from: Date;
  /** Accepted before it. */
  readonly to: Date;
  readonly groups: readonly UsageGroup[];
  /** Of groups. */
  readonly limit: number;
}

const SUMS = Prisma.sql`
  count(*)::int AS requests,
  count(*) FILTER (WHERE finished_at IS NULL)::int AS open,
  count(*) FILTER (WHERE status = 'completed')::int AS completed,
  coalesce(sum(prompt_tokens), 0)::text AS "promptTokens",
  coalesce(sum(completion_tokens), 0)::text AS "completionTokens",
  coalesce(sum(reserved_wei) FILTER (WHERE finished_at IS NULL), 0)::text AS "reservedWei",
  coalesce(sum(charged_wei), 0)::text AS "chargedWei",
  coalesce(sum(refunded_wei), 0)::text AS "refundedWei",
  coalesce(sum(charged_wei - refunded_wei), 0)::text AS "spentWei"`;

/** Sums of each group, and of all of them: of one moment. */
export interface Usage {
  readonly rows: readonly UsageRow[];
  readonly totals: UsageSums;
}

/** An account's usage by groups: earlier days first, then by model and key. */
export async function readUsage(
  database: Pick<Transaction, '$queryRaw'>,
  { accountId, from, to, groups, limit }: UsageFilter,
): Promise<Usage> {
  const by = (group: UsageGroup, column: Prisma.Sql) =>
    groups.includes(group) ? column : Prisma.sql`NULL::text`;
  const [totals, ...rows] = await database.$queryRaw<UsageRow[]>`
    SELECT day, model, key, ${SUMS}
    FROM (SELECT request.*,
            ${by('day', Prisma.sql`to_char(accepted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')`)} AS day,
            ${by('model', Prisma.sql`model_id`)} AS model, ${by('key', Prisma.sql`key_id`)} AS key
          FROM request
          WHERE account_id = ${accountId} AND accepted_at >= ${from} AND accepted_at < ${to})
         AS used
    GROUP BY GROUPING SETS ((), (day, model, key))
    ORDER BY grouping(day, model, key) DESC, day, model, key LIMIT ${limit + 1}`;
  if (!totals) throw new Error('an aggregate returned no row');
  return { rows, totals };
}

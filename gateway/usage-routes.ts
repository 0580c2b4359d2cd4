import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import {
  readUsage,
  USAGE_GROUPS,
  type UsageGroup,
  type UsageRow,
  type UsageSums,
} from '../prisma/usage.ts';
import { authenticate, type GatewayDependencies } from './context.ts';
import { csv } from './csv.ts';
import { MalformedRequestError } from './errors.ts';
import { instantOf, parseQuery } from './query.ts';

const DAY_MS = 86_400_000;
const DAYS_DEFAULT = 30;
/** Of one answer: there is no second page, so that sums are of one moment. */
const ROWS_MAX = 10_000;

/** A day (its beginning in UTC) or a time with its offset. */
const time = instantOf(
  z.union([z.iso.date(), z.iso.datetime({ offset: true })], {
    error: 'is not a day or a time in ISO 8601',
  }),
);

/** Names that are told apart by commas; none may be there twice. */
const groups = z.string().transform((text, context): UsageGroup[] => {
  const names = text.split(',');
  const known = USAGE_GROUPS.filter((group) => names.includes(group));
  if (known.length === names.length) return known;
  context.addIssue(`is not a list of ${USAGE_GROUPS.join(', ')}`);
  return z.NEVER;
});

export const usageQuery = z.strictObject({
  from: time.optional(),
  to: time.optional(),
  group_by: groups.default(['day']),
  format: z.enum(['json', 'csv']).default('json'),
});

/** What an account has used: its requests by the time at which they were accepted. */
export function usageRoutes(app: FastifyInstance, { database }: GatewayDependencies): void {
  app.get('/v1/usage', async (request, reply) => {
    const { accountId } = await authenticate(database, request, 'read');
    const query = parseQuery(usageQuery, request.query);
    const to = query.to ?? new Date();
    const from = query.from ?? new Date(to.getTime() - DAYS_DEFAULT * DAY_MS);
    if (from >= to) throw new MalformedRequestError('from', 'is not before to');
    const filter = { accountId, from, to, groups: query.group_by, limit: ROWS_MAX + 1 };
    const { rows, totals } = await readUsage(database, filter);
    if (rows.length > ROWS_MAX)
      throw new MalformedRequestError('from', `more than ${ROWS_MAX} rows: ask for less time`);
    if (query.format === 'csv')
      return reply
        .type('text/csv; charset=utf-8; header=present')
        .send(usageCsv(rows, totals, query));
    return {
      object: 'usage' as const,
      from: from.toISOString(),
      to: to.toISOString(),
      group_by: query.group_by,
      data: rows.map((row) => ({ ...groupView(row, query), ...sumsView(row) })),
      totals: sumsView(totals),
    };
  });
}

type Groups = Pick<z.infer<typeof usageQuery>, 'group_by'>;

function usageCsv(rows: readonly UsageRow[], totals: UsageSums, { group_by: by }: Groups): string {
  const names = Object.keys(sumsView(totals)) as (keyof ReturnType<typeof sumsView>)[];
  return csv<UsageRow>(
    [
      ...by.map((group) => [group, (row: UsageRow) => row[group]] as const),
      ...names.map((name) => [name, (row: UsageRow) => sumsView(row)[name]] as const),
    ],
    rows,
  );
}

function groupView(row: UsageRow, { group_by: by }: Groups) {
  return Object.fromEntries(by.map((group) => [group, row[group]]));
}

function sumsView(sums: UsageSums) {
  return {
    requests: sums.requests,
    open: sums.open,
    completed: sums.completed,
    prompt_tokens: Number(sums.promptTokens),
    completion_tokens: Number(sums.completionTokens),
    reserved_wei: sums.reservedWei,
    charged_wei: sums.chargedWei,
    refunded_wei: sums.refundedWei,
    spent_wei: sums.spentWei,
  };
}

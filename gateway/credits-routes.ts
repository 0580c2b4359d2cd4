import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { listBudgetAlerts, type BudgetAlertRow } from '../prisma/budget-alerts.ts';
import { inTransaction } from '../prisma/client.ts';
import { creditAccount, readCredits, type Credits } from '../prisma/credits.ts';
import { CodedError } from '../protocol/errors.ts';
import { weiAmount } from './amounts.ts';
import { authenticate, authenticateAdmin, type GatewayDependencies } from './context.ts';
import { MalformedRequestError } from './errors.ts';
import { limitParameter, listPage, noParameters, parseQuery } from './query.ts';

const AMOUNT_DIGITS_MAX = 40;

export const credited = z.strictObject({
  amount_wei: weiAmount(1n, AMOUNT_DIGITS_MAX),
  /** What it was paid by: nobody is credited for the same twice. */
  reference: z.string().regex(/^[\w.:/@+-]{1,200}$/, 'is not a name of 1 to 200 characters'),
});

export const alertsQuery = z.strictObject({
  limit: limitParameter(20, 100),
  after: z
    .string()
    .regex(/^\d{1,18}$/, 'is not the id of an alert')
    .optional(),
});

interface AccountParams {
  Params: { address: string };
}

/** What an account has, its alerts, and what admins credit it with. */
export function creditsRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  const { database, log } = dependencies;
  app.get('/v1/credits', async (request) => {
    const { accountId } = await authenticate(database, request, 'read');
    parseQuery(noParameters, request.query);
    return creditsView(accountId, await readCredits(database, accountId));
  });
  app.get('/v1/alerts', async (request) => {
    const { accountId } = await authenticate(database, request, 'read');
    const { limit, after } = parseQuery(alertsQuery, request.query);
    const from = after === undefined ? null : BigInt(after);
    const rows = await listBudgetAlerts(database, accountId, from, limit + 1);
    return listPage(rows, limit, alertView);
  });
  app.post<AccountParams>('/v1/accounts/:address/credits', async (request, reply) => {
    const { accountId: admin } = await authenticateAdmin(database, request);
    parseQuery(noParameters, request.query);
    const { amount_wei: amountWei, reference } = parseQuery(credited, request.body ?? {});
    const accountId = accountOf(request.params.address);
    const outcome = await inTransaction(database, (transaction) =>
      creditAccount(transaction, accountId, amountWei, reference),
    );
    if (outcome === 'unknown_account') throw new CodedError('gateway.account_not_found');
    if (outcome === 'reference_taken')
      throw new MalformedRequestError('reference', 'was used before, for something else');
    const amount = amountWei.toString();
    if (outcome === 'credited')
      log.info({ account: accountId, amountWei: amount, reference, admin }, 'gateway // credited');
    return reply.code(outcome === 'credited' ? 201 : 200).send({
      ...creditsView(accountId, await readCredits(database, accountId)),
      credited: { amount_wei: amount, reference },
    });
  });
}

/** Addresses are kept in lower case. */
function accountOf(address: string): string {
  return /^0x[0-9a-fA-F]{40}$/.test(address) ? address.toLowerCase() : address;
}

function creditsView(accountId: string, credits: Credits) {
  return {
    object: 'credits' as const,
    account: accountId,
    available_wei: credits.availableWei,
    reserved_wei: credits.reservedWei,
    spent_wei: credits.spentWei,
    deposited_wei: credits.depositedWei,
  };
}

function alertView(row: BudgetAlertRow) {
  return {
    id: row.id.toString(),
    object: 'budget_alert' as const,
    key: row.keyId,
    percent: row.percent,
    period_began_at: row.periodBeganAt.toISOString(),
    spent_wei: row.spentWei,
    budget_wei: row.budgetWei,
    created_at: row.createdAt.toISOString(),
  };
}

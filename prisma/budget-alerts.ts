import { Prisma } from './generated/client.ts';
import type { Transaction } from './client.ts';

/** That a key has used so much of its budget of one period. Money is decimal wei. */
export interface BudgetAlertRow {
  readonly id: bigint;
  readonly keyId: string;
  readonly accountId: string;
  readonly periodBeganAt: Date;
  readonly percent: 80 | 100;
  /** When it was written. */
  readonly spentWei: string;
  readonly budgetWei: string;
  readonly createdAt: Date;
}

const COLUMNS = Prisma.sql`id, key_id AS "keyId", account_id AS "accountId",
  period_began_at AS "periodBeganAt", percent, spent_wei::text AS "spentWei",
  budget_wei::text AS "budgetWei", created_at AS "createdAt"`;

/**
 * Alerts of one account, the latest first.
 *
 * @param after only those before the alert of this id; null from the latest on.
 */
export function listBudgetAlerts(
  database: Pick<Transaction, '$queryRaw'>,
  accountId: string,
  after: bigint | null,
  limit: number,
): Promise<BudgetAlertRow[]> {
  return database.$queryRaw<BudgetAlertRow[]>`
    SELECT ${COLUMNS} FROM budget_alert
    WHERE account_id = ${accountId} AND (${after}::bigint IS NULL OR id < ${after}::bigint)
    ORDER BY id DESC LIMIT ${limit}`;
}

/** Takes alerts that no log was told of yet; each is taken once. */
export function takeUntoldAlerts(
  database: Pick<Transaction, '$queryRaw'>,
  limit: number,
): Promise<BudgetAlertRow[]> {
  return database.$queryRaw<BudgetAlertRow[]>`
    UPDATE budget_alert SET told_at = now()
    WHERE id IN (SELECT id FROM budget_alert WHERE told_at IS NULL
                 ORDER BY id LIMIT ${limit} FOR UPDATE SKIP LOCKED)
    RETURNING ${COLUMNS}`;
}

import { takeUntoldAlerts } from '../prisma/budget-alerts.ts';
import type { BackgroundDependencies } from './background.ts';

const ROUND_MAX = 100;

/**
 * Tells the log of keys that have used 80 or 100 % of their budget: once each, whichever gateway
 * and coordinator their requests came by.
 */
export async function tellBudgetAlerts({
  database,
  log,
}: Pick<BackgroundDependencies, 'database' | 'log'>): Promise<void> {
  for (const alert of await takeUntoldAlerts(database, ROUND_MAX)) {
    const { keyId, accountId, percent, spentWei, budgetWei, periodBeganAt } = alert;
    log.warn(
      { key: keyId, account: accountId, percent, spentWei, budgetWei, periodBeganAt },
      'coordinator // a key has used up much of its budget',
    );
  }
}

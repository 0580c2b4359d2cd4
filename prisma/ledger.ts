import type { Transaction } from './client.ts';

/** What came in from outside; the only account that runs below zero. */
const FUNDING = 'funding';

/** Ledger accounts of one payer. */
function availableOf(accountId: string): string {
  return `${accountId}:available`;
}

function reservedOf(accountId: string): string {
  return `${accountId}:reserved`;
}

/** Makes the payer's two ledger accounts, if they aren't there. */
export async function openLedgerAccounts(transaction: Transaction, accountId: string) {
  await transaction.$executeRaw`
    INSERT INTO ledger_account (id) VALUES (${availableOf(accountId)}), (${reservedOf(accountId)})
    ON CONFLICT (id) DO NOTHING`;
}

/**
 * Credits a payer with money from outside.
 *
 * @param key what makes this deposit happen once.
 * @returns false when a deposit of that key was there already.
 */
export async function deposit(
  transaction: Transaction,
  key: string,
  accountId: string,
  amountWei: bigint,
): Promise<boolean> {
  if (amountWei === 0n) return false;
  const inserted = await transaction.$executeRaw`
    INSERT INTO ledger_transfer (key, purpose, debit_id, credit_id, amount_wei)
    VALUES (${`${key}:deposit`}, 'deposit', ${FUNDING}, ${availableOf(accountId)},
            ${amountWei.toString()}::numeric)
    ON CONFLICT (key) DO NOTHING`;
  return inserted === 1;
}

/**
 * Sets money aside for a unit.
 *
 * @returns whether the payer had that much; when not, nothing has changed.
 */
export async function reserve(
  transaction: Transaction,
  unitId: string,
  accountId: string,
  amountWei: bigint,
): Promise<boolean> {
  const [row] = await transaction.$queryRaw<{ granted: boolean }[]>`
    SELECT ledger_reserve(${unitId}, ${accountId}, ${amountWei.toString()}::numeric) AS granted`;
  return row?.granted ?? false;
}

/** Ends a reservation: `captureWei` is paid for delivered work, `releaseWei` goes back. */
export async function settleReservation(
  transaction: Transaction,
  unitId: string,
  accountId: string,
  captureWei: bigint,
  releaseWei: bigint,
): Promise<void> {
  await transaction.$queryRaw`
    SELECT ledger_settle(${unitId}, ${accountId}, ${captureWei.toString()}::numeric,
                         ${releaseWei.toString()}::numeric)::text`;
}

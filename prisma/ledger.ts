import type { Transaction } from './client.ts';

/** What came in from outside; the only account that runs below zero. */
const FUNDING = 'funding';
/** What was captured for delivered work. */
const USAGE = 'usage';

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
  return post(transaction, `${key}:deposit`, 'deposit', FUNDING, availableOf(accountId), amountWei);
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
  // The row lock makes check and transfer one decision among concurrent requests of one payer.
  const [balance] = await transaction.$queryRaw<{ enough: boolean }[]>`
    SELECT balance_wei >= ${amountWei.toString()}::numeric AS enough
    FROM ledger_account WHERE id = ${availableOf(accountId)} FOR UPDATE`;
  if (!balance?.enough) return false;
  await post(
    transaction,
    `${unitId}:reserve`,
    'reserve',
    availableOf(accountId),
    reservedOf(accountId),
    amountWei,
  );
  return true;
}

/** Ends a reservation: `captureWei` is paid for delivered work, `releaseWei` goes back. */
export async function settleReservation(
  transaction: Transaction,
  unitId: string,
  accountId: string,
  captureWei: bigint,
  releaseWei: bigint,
): Promise<void> {
  const reserved = reservedOf(accountId);
  await post(transaction, `${unitId}:capture`, 'capture', reserved, USAGE, captureWei);
  await post(
    transaction,
    `${unitId}:release`,
    'release',
    reserved,
    availableOf(accountId),
    releaseWei,
  );
}

/** A transfer; a trigger moves the balances. Nothing happens for an amount of zero. */
async function post(
  transaction: Transaction,
  key: string,
  purpose: string,
  debitId: string,
  creditId: string,
  amountWei: bigint,
): Promise<boolean> {
  if (amountWei === 0n) return false;
  const inserted = await transaction.$executeRaw`
    INSERT INTO ledger_transfer (key, purpose, debit_id, credit_id, amount_wei)
    VALUES (${key}, ${purpose}, ${debitId}, ${creditId}, ${amountWei.toString()}::numeric)
    ON CONFLICT (key) DO NOTHING`;
  return inserted === 1;
}

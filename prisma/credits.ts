import type { Transaction } from './client.ts';
import { deposit, openLedgerAccounts } from './ledger.ts';

/** What an account has, in decimal wei: `deposited` is always the sum of the others. */
export interface Credits {
  readonly availableWei: string;
  readonly reservedWei: string;
  /** Charges less refunds. */
  readonly spentWei: string;
  readonly depositedWei: string;
}

/** The credit of an account; all of it 0 for one without a ledger. */
export async function readCredits(
  database: Pick<Transaction, '$queryRaw'>,
  accountId: string,
): Promise<Credits> {
  // What isn't there any more was spent: the ledger conserves.
  const [row] = await database.$queryRaw<Credits[]>`
    SELECT available::text AS "availableWei", reserved::text AS "reservedWei",
           deposited::text AS "depositedWei",
           (deposited - available - reserved)::text AS "spentWei"
    FROM (SELECT
      coalesce((SELECT balance_wei FROM ledger_account
                WHERE id = ${`${accountId}:available`}), 0) AS available,
      coalesce((SELECT balance_wei FROM ledger_account
                WHERE id = ${`${accountId}:reserved`}), 0) AS reserved,
      coalesce((SELECT sum(amount_wei) FROM ledger_transfer
                WHERE credit_id = ${`${accountId}:available`} AND purpose = 'deposit'), 0)
        AS deposited) AS credit`;
  if (!row) throw new Error('a SELECT without FROM returned no row');
  return row;
}

/** What came of crediting an account. */
export type Credited =
  | 'credited'
  /** The same was credited by that reference before. */
  | 'known'
  /** The reference was used for another account or amount. */
  | 'reference_taken'
  | 'unknown_account';

/** Credits an account with money from outside, once for each reference. */
export async function creditAccount(
  transaction: Transaction,
  accountId: string,
  amountWei: bigint,
  reference: string,
): Promise<Credited> {
  const [account] = await transaction.$queryRaw<object[]>`
    SELECT id FROM account WHERE id = ${accountId}`;
  if (!account) return 'unknown_account';
  await openLedgerAccounts(transaction, accountId);
  const key = `reference:${reference}`;
  if (await deposit(transaction, key, accountId, amountWei)) return 'credited';
  const [same] = await transaction.$queryRaw<object[]>`
    SELECT key FROM ledger_transfer
    WHERE key = ${`${key}:deposit`} AND credit_id = ${`${accountId}:available`}
      AND amount_wei = ${amountWei.toString()}::numeric`;
  return same ? 'known' : 'reference_taken';
}

import { sql, type Transaction } from './client.ts';
import { openLedgerAccounts } from './ledger.ts';
import type { BudgetPeriod, KeyLimits, KeyRights, Scope } from '../protocol/keys.ts';

/** A key, without its secret: of that only the hash is known. */
export interface KeyRow extends KeyRights {
  readonly name: string;
  readonly hint: string;
  /** Of its present secret: SHA-256, in hex. */
  readonly keyHash: string;
  readonly createdAt: Date;
  readonly revokedAt: Date | null;
  /** Whether it may be used now, by the database's clock. */
  readonly isActive: boolean;
  /** In its present budget period, and of requests that are under way. */
  readonly used: { readonly spentWei: string; readonly reservedWei: string; inFlight: number };
}

/** A key to be stored. */
export interface NewKey {
  readonly accountId: string;
  /** SHA-256 of the secret, in hex. */
  readonly keyHash: string;
  readonly hint: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly expiresAt: Date | null;
  readonly limits: KeyLimits;
}

/** What one call deletes at most, so that none takes long. */
const NONCES_DELETED_MAX = 100;

/**
 * Uses a nonce up, and deletes some that have ended: not at once, or a transaction that began while
 * one was good could use it once more.
 *
 * @param endsAt by the database's clock.
 * @returns false if it was used before, or has ended.
 */
export async function useNonce(
  transaction: Transaction,
  nonce: string,
  endsAt: Date,
): Promise<boolean> {
  const used = await transaction.$executeRaw`
    WITH gone AS (
      DELETE FROM sign_in_nonce
      WHERE nonce IN (
        SELECT nonce FROM sign_in_nonce WHERE expires_at <= now() - interval '1 minute'
        ORDER BY expires_at LIMIT ${NONCES_DELETED_MAX} FOR UPDATE SKIP LOCKED))
    INSERT INTO sign_in_nonce (nonce, expires_at)
    SELECT ${nonce}, ${endsAt}::timestamptz WHERE ${endsAt}::timestamptz > now()
    ON CONFLICT DO NOTHING`;
  return used === 1;
}

/** Makes an account, with its ledger accounts, unless it is there. */
export async function openAccount(transaction: Transaction, id: string): Promise<void> {
  await transaction.$executeRaw`
    INSERT INTO account (id, name) VALUES (${id}, '') ON CONFLICT (id) DO NOTHING`;
  await openLedgerAccounts(transaction, id);
}

/**
 * Stores a key.
 *
 * @returns undefined if the account has `keysMax` already that may be used.
 */
export async function storeKey(
  transaction: Transaction,
  { accountId, keyHash, hint, name, scopes, expiresAt, limits }: NewKey,
  keysMax: number,
): Promise<KeyRow | undefined> {
  // One after the other, or several could be the last.
  await transaction.$queryRaw`SELECT id FROM account WHERE id = ${accountId} FOR NO KEY UPDATE`;
  const [made] = await transaction.$queryRaw<{ id: string }[]>`
    INSERT INTO api_key (account_id, key_hash, hint, name, scopes, expires_at, budget_wei,
                         budget_period, requests_per_minute, tokens_per_minute, concurrency)
    SELECT ${accountId}, ${keyHash}, ${hint}, ${name}, ${[...scopes]}::text[],
           ${expiresAt}::timestamptz, ${limits.budgetWei?.toString() ?? null}::numeric,
           ${limits.budgetPeriod}, ${limits.requestsPerMinute}::int,
           ${limits.tokensPerMinute}::int, ${limits.concurrency}::int
    WHERE (SELECT count(*) FROM api_key
           WHERE account_id = ${accountId} AND revoked_at IS NULL
             AND (expires_at IS NULL OR expires_at > now())) < ${keysMax}
    RETURNING id`;
  return made && readKey(transaction, accountId, made.id);
}

interface StoredKey extends Omit<KeyRow, 'limits' | 'used'> {
  readonly spentWei: string;
  readonly reservedWei: string;
  readonly inFlight: number;
  readonly budgetWei: string | null;
  readonly budgetPeriod: BudgetPeriod;
  readonly requestsPerMinute: number | null;
  readonly tokensPerMinute: number | null;
  readonly concurrency: number | null;
}

const COLUMNS = sql`
  id, name, hint, key_hash AS "keyHash", scopes, is_admin AS "isAdmin", created_at AS "createdAt",
  expires_at AS "expiresAt", revoked_at AS "revokedAt",
  (revoked_at IS NULL OR revoked_at > now()) AND (expires_at IS NULL OR expires_at > now())
    AS "isActive",
  budget_wei::text AS "budgetWei", budget_period AS "budgetPeriod",
  requests_per_minute AS "requestsPerMinute", tokens_per_minute AS "tokensPerMinute", concurrency,
  (key_now(api_key)).spent_wei::text AS "spentWei", reserved_wei::text AS "reservedWei",
  in_flight AS "inFlight"`;

function keyRow(stored: StoredKey): KeyRow {
  const { budgetWei, budgetPeriod, requestsPerMinute, tokensPerMinute, concurrency, ...rest } =
    stored;
  const { spentWei, reservedWei, inFlight, ...key } = rest;
  const rates = { requestsPerMinute, tokensPerMinute, concurrency };
  const budget = { budgetWei: budgetWei === null ? null : BigInt(budgetWei), budgetPeriod };
  return { ...key, limits: { ...budget, ...rates }, used: { spentWei, reservedWei, inFlight } };
}

/** A key of an account, also one that has ended. */
export async function readKey(
  database: Transaction,
  accountId: string,
  id: string,
): Promise<KeyRow | undefined> {
  const [row] = await database.$queryRaw<StoredKey[]>`
    SELECT ${COLUMNS} FROM api_key WHERE id = ${id} AND account_id = ${accountId}`;
  return row && keyRow(row);
}

/** As `readKey`; nobody else changes it until the transaction is over. */
export async function lockKey(
  transaction: Transaction,
  accountId: string,
  id: string,
): Promise<KeyRow | undefined> {
  const [row] = await transaction.$queryRaw<StoredKey[]>`
    SELECT ${COLUMNS} FROM api_key WHERE id = ${id} AND account_id = ${accountId} FOR UPDATE`;
  return row && keyRow(row);
}

/**
 * Keys of an account, the latest first, also those that have ended.
 *
 * @param after only those behind this one; null from the first on.
 */
export async function listKeys(
  database: Transaction,
  accountId: string,
  after: string | null,
  limit: number,
): Promise<KeyRow[]> {
  const rows = await database.$queryRaw<StoredKey[]>`
    SELECT ${COLUMNS} FROM api_key
    WHERE account_id = ${accountId}
      AND (${after}::text IS NULL OR (created_at, id) <
           (SELECT created_at, id FROM api_key WHERE id = ${after}))
    ORDER BY created_at DESC, id DESC LIMIT ${limit}`;
  return rows.map(keyRow);
}

/**
 * Gives a key another secret. Its row stays, and with it its id, limits and what is used of them.
 * Secrets that it had before are taken for `overlapSeconds` from now on, and none for longer.
 */
export async function replaceSecret(
  transaction: Transaction,
  id: string,
  { keyHash, hint }: { readonly keyHash: string; readonly hint: string },
  overlapSeconds: number,
): Promise<void> {
  await transaction.$executeRaw`
    DELETE FROM former_secret
    WHERE key_id = ${id} AND (${overlapSeconds}::int = 0 OR ends_at <= now())`;
  await transaction.$executeRaw`
    UPDATE former_secret
    SET ends_at = LEAST(ends_at, now() + make_interval(secs => ${overlapSeconds}::float8))
    WHERE key_id = ${id}`;
  if (overlapSeconds > 0)
    await transaction.$executeRaw`
      INSERT INTO former_secret (key_hash, key_id, ends_at)
      SELECT key_hash, id, now() + make_interval(secs => ${overlapSeconds}::float8)
      FROM api_key WHERE id = ${id}`;
  await transaction.$executeRaw`
    UPDATE api_key SET key_hash = ${keyHash}, hint = ${hint} WHERE id = ${id}`;
}

export async function updateKey(
  transaction: Transaction,
  id: string,
  { name, limits }: { readonly name: string; readonly limits: KeyLimits },
): Promise<void> {
  await transaction.$executeRaw`
    UPDATE api_key
    SET name = ${name}, budget_wei = ${limits.budgetWei?.toString() ?? null}::numeric,
        budget_period = ${limits.budgetPeriod},
        requests_per_minute = ${limits.requestsPerMinute}::int,
        tokens_per_minute = ${limits.tokensPerMinute}::int, concurrency = ${limits.concurrency}::int
    WHERE id = ${id}`;
}

/** From now on it is as unknown; a key that was revoked before stays so. */
export async function revokeKey(transaction: Transaction, id: string): Promise<void> {
  // Rounded down: the column has milliseconds, and would take it for a moment to come.
  await transaction.$executeRaw`
    UPDATE api_key SET revoked_at = LEAST(revoked_at, date_trunc('milliseconds', now()))
    WHERE id = ${id}`;
  await transaction.$executeRaw`DELETE FROM former_secret WHERE key_id = ${id}`;
}

/** Who presents a secret. */
export interface KeyHolder {
  readonly accountId: string;
  readonly keyId: string;
  /** Of the secret that was presented: SHA-256, in hex. */
  readonly keyHash: string;
  readonly scopes: readonly Scope[];
  readonly isAdmin: boolean;
}

/**
 * Whose secret that is, by its present or a former hash. It asks the database each time: so what is
 * revoked is so at once, at every gateway. A former secret serves apps until they have the new one.
 * It manages no keys, and administers nothing: who stole it could keep the key by it.
 *
 * @returns undefined also if the key has ended.
 */
export async function findKeyHolder(
  database: Transaction,
  keyHash: string,
): Promise<KeyHolder | undefined> {
  const [found] = await database.$queryRaw<KeyHolder[]>`
    SELECT account_id AS "accountId", id AS "keyId", ${keyHash} AS "keyHash",
      CASE WHEN key_hash = ${keyHash} THEN scopes ELSE array_remove(scopes, 'keys') END AS scopes,
      is_admin AND key_hash = ${keyHash} AS "isAdmin"
    FROM api_key
    WHERE id = COALESCE(
        (SELECT id FROM api_key WHERE key_hash = ${keyHash}),
        (SELECT key_id FROM former_secret WHERE key_hash = ${keyHash} AND ends_at > now()))
      AND (revoked_at IS NULL OR revoked_at > now())
      AND (expires_at IS NULL OR expires_at > now())`;
  return found;
}

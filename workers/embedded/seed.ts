import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { apiKeyHash, apiKeyHint } from '../../crypto/api-key.ts';
import { inTransaction, type Database } from '../../prisma/client.ts';
import { deposit, openLedgerAccounts } from '../../prisma/ledger.ts';
import type { Address } from '../../protocol/binding.ts';
import { SCOPES } from '../../protocol/keys.ts';
import { readOrNothing, writeDurably } from './files.ts';

/** The demo account of data directories from before accounts were addresses, and of tests. */
export const DEMO_ACCOUNT = 'acct_demo';
const WEI_PER_PRLX = 10n ** 18n;
const DEMO_DEPOSIT_WEI = 100n * WEI_PER_PRLX;

/** The model that the embedded nodes serve. */
export interface EmbeddedModel {
  readonly id: string;
  readonly digest: string;
  readonly contextTokens: number;
}

/** Prices of the embedded model: 0.1 and 0.4 PRLX per million tokens. */
const PROMPT_PRICE_WEI = WEI_PER_PRLX / 10_000_000n;
const COMPLETION_PRICE_WEI = (4n * WEI_PER_PRLX) / 10_000_000n;

/**
 * Puts the demo account, its credit, its API key and the model in place; safe to repeat. A key that
 * is there already stays with the account that it has.
 */
export async function seed(
  database: Database,
  apiKey: string,
  model: EmbeddedModel,
  accountId: string = DEMO_ACCOUNT,
): Promise<void> {
  await inTransaction(database, async (transaction) => {
    await transaction.$executeRaw`
      INSERT INTO account (id, name) VALUES (${accountId}, 'Demo') ON CONFLICT DO NOTHING`;
    await transaction.$executeRaw`
      INSERT INTO api_key (key_hash, account_id, name, hint, scopes)
      VALUES (${apiKeyHash(apiKey)}, ${accountId}, 'Demo', ${apiKeyHint(apiKey)},
              ${[...SCOPES]}::text[])
      ON CONFLICT (key_hash) DO UPDATE
      SET hint = EXCLUDED.hint, scopes = EXCLUDED.scopes`;
    await openLedgerAccounts(transaction, accountId);
    // Networks from before have had one to that account by that name.
    const name = accountId === DEMO_ACCOUNT ? 'demo' : `demo:${accountId}`;
    await deposit(transaction, name, accountId, DEMO_DEPOSIT_WEI);
    await transaction.$executeRaw`
      INSERT INTO model (id, digest, context_tokens, prompt_price_wei, completion_price_wei)
      VALUES (${model.id}, ${model.digest}, ${model.contextTokens},
              ${PROMPT_PRICE_WEI.toString()}::numeric, ${COMPLETION_PRICE_WEI.toString()}::numeric)
      ON CONFLICT (id) DO UPDATE SET digest = EXCLUDED.digest`;
  });
}

/** Lets a key of the demo account decide on nodes, too; safe to repeat. */
export async function seedAdminKey(
  database: Database,
  adminKey: string,
  accountId: string = DEMO_ACCOUNT,
): Promise<void> {
  await database.$executeRaw`
    INSERT INTO api_key (key_hash, account_id, is_admin, name, hint)
    VALUES (${apiKeyHash(adminKey)}, ${accountId}, TRUE, 'Demo, admin', 'plx-admin')
    ON CONFLICT (key_hash) DO UPDATE SET hint = EXCLUDED.hint`;
}

/**
 * Puts operator accounts in place, with the addresses that sign for their nodes; safe to repeat.
 * Their ids serve as names too.
 */
export async function seedOperators(
  database: Database,
  operators: readonly { readonly id: string; readonly address: Address }[],
): Promise<void> {
  const ids = operators.map(({ id }) => id);
  const addresses = operators.map(({ address }) => address);
  await database.$executeRaw`
    INSERT INTO operator (id, name, address)
    SELECT id, id, address FROM unnest(${ids}::text[], ${addresses}::text[]) AS given (id, address)
    ON CONFLICT (id) DO UPDATE SET address = EXCLUDED.address`;
}

/** A secret kept in a file that only its owner can read; drawn on first use. */
export async function secretFile(path: string, prefix = ''): Promise<string> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const known = (await readOrNothing(path))?.trim();
  if (known) return known;
  const drawn = prefix + randomBytes(24).toString('base64url');
  await writeDurably(path, `${drawn}\n`, 0o600);
  return drawn;
}

import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { apiKeyHash, apiKeyHint } from '../../crypto/api-key.ts';
import { inTransaction, type Database } from '../../prisma/client.ts';
import { deposit, openLedgerAccounts } from '../../prisma/ledger.ts';
import { publishPrices } from '../../prisma/prices.ts';
import type { Address } from '../../protocol/binding.ts';
import { SCOPES } from '../../protocol/keys.ts';
import { priceMatrix, type PriceFactors } from '../../protocol/prices.ts';
import type { TokenPrice } from '../../protocol/settle.ts';
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

/** Of the embedded model, tier 1, standard: 0.1 and 0.4 PRLX per million tokens. */
const BASE_PRICE: TokenPrice = {
  promptWei: WEI_PER_PRLX / 10_000_000n,
  completionWei: (4n * WEI_PER_PRLX) / 10_000_000n,
};
/** Who wants a faster node, or to be served before others, pays more. */
const PRICE_FACTORS: PriceFactors = {
  tiers: ['1', '1.5', '2', '3', '4'],
  priorities: { standard: '1', expedited: '1.5', urgent: '2' },
};

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
              ${BASE_PRICE.promptWei.toString()}::numeric,
              ${BASE_PRICE.completionWei.toString()}::numeric)
      ON CONFLICT (id) DO UPDATE SET digest = EXCLUDED.digest`;
    // Prices that somebody has published since stay.
    await publishPrices(transaction, model.id, 1, priceMatrix(BASE_PRICE, PRICE_FACTORS), null);
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

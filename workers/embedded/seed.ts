import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { inTransaction, type Database } from '../../prisma/client.ts';
import { deposit, openLedgerAccounts } from '../../prisma/ledger.ts';

/** The account that a new checkout can spend from at once. */
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

/** Puts the demo account, its credit, its API key and the model in place; safe to repeat. */
export async function seed(
  database: Database,
  apiKey: string,
  model: EmbeddedModel,
): Promise<void> {
  await inTransaction(database, async (transaction) => {
    await transaction.$executeRaw`
      INSERT INTO account (id, name) VALUES (${DEMO_ACCOUNT}, 'Demo') ON CONFLICT DO NOTHING`;
    await transaction.$executeRaw`
      INSERT INTO api_key (key_hash, account_id)
      VALUES (${createHash('sha256').update(apiKey).digest('hex')}, ${DEMO_ACCOUNT})
      ON CONFLICT DO NOTHING`;
    await openLedgerAccounts(transaction, DEMO_ACCOUNT);
    await deposit(transaction, 'demo', DEMO_ACCOUNT, DEMO_DEPOSIT_WEI);
    await transaction.$executeRaw`
      INSERT INTO model (id, digest, context_tokens, prompt_price_wei, completion_price_wei)
      VALUES (${model.id}, ${model.digest}, ${model.contextTokens},
              ${PROMPT_PRICE_WEI.toString()}::numeric, ${COMPLETION_PRICE_WEI.toString()}::numeric)
      ON CONFLICT (id) DO UPDATE SET digest = EXCLUDED.digest`;
  });
}

/** A secret kept in a file that only its owner can read; drawn on first use. */
export async function secretFile(path: string, prefix = ''): Promise<string> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const drawn = prefix + randomBytes(24).toString('base64url');
  // `wx` fails if it is there, so that two starts can't draw two secrets.
  await writeFile(path, `${drawn}\n`, { flag: 'wx', mode: 0o600 }).catch(() => {});
  return (await readFile(path, 'utf8')).trim();
}

import type { MatrixPrice } from '../protocol/prices.ts';
import type { Priority } from '../protocol/receive.ts';
import type { Transaction } from './client.ts';
import { Prisma } from './generated/client.ts';

/** One row of the price table. Amounts are decimal wei per token. */
export interface PriceRow {
  readonly modelId: string;
  readonly version: number;
  readonly hardwareTier: number;
  readonly priority: Priority;
  readonly promptPriceWei: string;
  readonly completionPriceWei: string;
  readonly beginsAt: Date;
}

const PRICE_ROWS = Prisma.sql`
  SELECT model_id AS "modelId", version, hardware_tier AS "hardwareTier", priority,
         prompt_price_wei::text AS "promptPriceWei",
         completion_price_wei::text AS "completionPriceWei", begins_at AS "beginsAt"
  FROM price`;

/** Whether a row of `price` is the newest version of its model, tier and priority by now. */
const IN_FORCE = Prisma.sql`begins_at <= now() AND NOT EXISTS (
  SELECT FROM price AS later
  WHERE later.begins_at <= now() AND later.version > price.version
    AND (later.model_id, later.hardware_tier, later.priority)
        = (price.model_id, price.hardware_tier, price.priority))`;

const LEAST_FIRST = Prisma.sql`
  array_position('{standard,expedited,urgent}'::text[], priority)`;

/** Prices in force and those to come, of one model or (null) of all. */
export function listPrices(
  database: Pick<Transaction, '$queryRaw'>,
  modelId: string | null,
): Promise<PriceRow[]> {
  return database.$queryRaw<PriceRow[]>`
    ${PRICE_ROWS}
    WHERE (${modelId}::text IS NULL OR model_id = ${modelId})
      AND (begins_at > now() OR ${IN_FORCE})
    ORDER BY model_id, version, hardware_tier, ${LEAST_FIRST}`;
}

/** All prices of one version, in force or not. */
export function readPrices(
  database: Pick<Transaction, '$queryRaw'>,
  modelId: string,
  version: number,
): Promise<PriceRow[]> {
  return database.$queryRaw<PriceRow[]>`
    ${PRICE_ROWS} WHERE model_id = ${modelId} AND version = ${version}
    ORDER BY hardware_tier, ${LEAST_FIRST}`;
}

/** Keeps what `model` shows equal to the price in force of tier 1 and priority `standard`. */
export async function showStandardPrices(transaction: Pick<Transaction, '$executeRaw'>) {
  await transaction.$executeRaw`
    UPDATE model SET prompt_price_wei = price.prompt_price_wei,
                     completion_price_wei = price.completion_price_wei
    FROM price
    WHERE price.model_id = model.id AND hardware_tier = 1 AND priority = 'standard'
      AND ${IN_FORCE}
      AND (model.prompt_price_wei, model.completion_price_wei)
          <> (price.prompt_price_wei, price.completion_price_wei)`;
}

/** What came of publishing a version of a model's prices. */
export type Published =
  | { readonly kind: 'published' }
  /** The same was published before. */
  | { readonly kind: 'known' }
  /** That version has other prices, or it isn't the next one. */
  | { readonly kind: 'refused'; readonly nextVersion: number; readonly isTaken: boolean }
  | { readonly kind: 'unknown_model' }
  /** It would have begun before it was published. */
  | { readonly kind: 'too_late' };

/**
 * Publishes a version of a model's prices: once, however often it is repeated. Versions are counted
 * from 1 and never change.
 *
 * @param beginsAt null: now.
 */
export async function publishPrices(
  transaction: Transaction,
  modelId: string,
  version: number,
  matrix: readonly MatrixPrice[],
  beginsAt: Date | null,
): Promise<Published> {
  // Locked, so that versions come one after the other.
  const [model] = await transaction.$queryRaw<object[]>`
    SELECT id FROM model WHERE id = ${modelId} FOR NO KEY UPDATE`;
  if (!model) return { kind: 'unknown_model' };
  const [last] = await transaction.$queryRaw<{ version: number }[]>`
    SELECT version FROM price WHERE model_id = ${modelId} ORDER BY version DESC LIMIT 1`;
  const newest = last?.version ?? 0;
  if (version <= newest) {
    const known = await isKnown(transaction, modelId, version, matrix, beginsAt);
    if (known) return { kind: 'known' };
  }
  if (version !== newest + 1)
    return { kind: 'refused', nextVersion: newest + 1, isTaken: version <= newest };
  const [late] = await transaction.$queryRaw<object[]>`
    SELECT 1 AS late WHERE ${beginsAt}::timestamptz < now()`;
  if (late) return { kind: 'too_late' };
  // Rounded down, or it might begin a little later than now.
  await transaction.$executeRaw`
    INSERT INTO price (model_id, version, hardware_tier, priority, prompt_price_wei,
                       completion_price_wei, begins_at)
    SELECT ${modelId}, ${version}::int, tier, priority, prompt, completion,
           coalesce(${beginsAt}::timestamptz, date_trunc('milliseconds', now()))
    FROM unnest(${matrix.map(({ hardwareTier }) => hardwareTier)}::int[],
                ${matrix.map(({ priority }) => priority)}::text[],
                ${matrix.map(({ promptWei }) => promptWei.toString())}::numeric[],
                ${matrix.map(({ completionWei }) => completionWei.toString())}::numeric[])
         AS given (tier, priority, prompt, completion)`;
  await showStandardPrices(transaction);
  return { kind: 'published' };
}

async function isKnown(
  transaction: Transaction,
  modelId: string,
  version: number,
  matrix: readonly MatrixPrice[],
  beginsAt: Date | null,
): Promise<boolean> {
  const rows = await readPrices(transaction, modelId, version);
  const texts = new Set(
    rows.map((row) =>
      [row.hardwareTier, row.priority, row.promptPriceWei, row.completionPriceWei].join(),
    ),
  );
  return (
    rows.every((row) => beginsAt === null || row.beginsAt.getTime() === beginsAt.getTime()) &&
    matrix.every((price) =>
      texts.has([price.hardwareTier, price.priority, price.promptWei, price.completionWei].join()),
    )
  );
}

import type { Transaction } from './client.ts';

/** What may be asked for. Prices are decimal wei per token, at tier 1 and standard priority. */
export interface ModelRow {
  readonly id: string;
  readonly digest: string;
  readonly contextTokens: number;
  readonly promptPriceWei: string;
  readonly completionPriceWei: string;
  readonly createdAt: Date;
  /** What some node of the model can do now besides chat, in ascending order. */
  readonly features: readonly string[];
}

/**
 * One model, or (null) all of them, by their ids.
 *
 * @param onlineSeconds since a heartbeat, within which a node counts as online.
 */
export function readModels(
  database: Pick<Transaction, '$queryRaw'>,
  id: string | null,
  onlineSeconds: number,
): Promise<ModelRow[]> {
  return database.$queryRaw<ModelRow[]>`
    SELECT id, digest, context_tokens AS "contextTokens",
           prompt_price_wei::text AS "promptPriceWei",
           completion_price_wei::text AS "completionPriceWei", created_at AS "createdAt",
           ARRAY(SELECT DISTINCT feature FROM node, unnest(node.features) AS feature
                 WHERE node.model_digest = model.digest AND status = 'active' AND is_online
                   AND is_ready
                   AND last_seen_at > now() - make_interval(secs => ${onlineSeconds}::float8)
                 ORDER BY feature) AS features
    FROM model WHERE ${id}::text IS NULL OR id = ${id} ORDER BY id`;
}

import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { inTransaction } from '../prisma/client.ts';
import { listPrices, publishPrices, readPrices, type PriceRow } from '../prisma/prices.ts';
import { CodedError } from '../protocol/errors.ts';
import {
  EQUAL_FACTORS,
  isFactor,
  isWhole,
  priceMatrix,
  PRIORITIES,
  TIERS,
  type MatrixPrice,
} from '../protocol/prices.ts';
import { HARDWARE_TIER_MAX, NAME } from '../protocol/receive.ts';
import { weiAmount } from './amounts.ts';
import { authenticateAdmin, type GatewayDependencies } from './context.ts';
import { MalformedRequestError } from './errors.ts';
import { instantOf, noParameters, parseQuery } from './query.ts';
import type { IdParams } from './request-routes.ts';

/** Of one token: with any number of tokens that a request may have, a sum fits the ledger. */
const PRICE_DIGITS_MAX = 30;
const VERSION_MAX = 0x7fff_ffff;

const perToken = {
  prompt_price_wei: weiAmount(0n, PRICE_DIGITS_MAX),
  completion_price_wei: weiAmount(0n, PRICE_DIGITS_MAX),
};
const factor = z.string().refine(isFactor, 'is not a decimal string with up to 4 decimals');

export const published = z
  .strictObject({
    version: z.int().min(1).max(VERSION_MAX),
    begins_at: instantOf(z.iso.datetime({ offset: true })).optional(),
    prices: z
      .array(
        z.strictObject({
          hardware_tier: z.int().min(1).max(HARDWARE_TIER_MAX),
          priority: z.enum(['standard', 'expedited', 'urgent']),
          ...perToken,
        }),
      )
      .max(TIERS.length * PRIORITIES.length)
      .optional(),
    base: z.strictObject(perToken).optional(),
    tier_factors: z.array(factor).length(TIERS.length).optional(),
    priority_factors: z
      .strictObject({ standard: factor, expedited: factor, urgent: factor })
      .optional(),
  })
  .refine(({ prices, base }) => (prices === undefined) !== (base === undefined), {
    path: ['base'],
    message: 'give either prices or base',
  })
  .refine((body) => body.base || !(body.tier_factors ?? body.priority_factors), {
    path: ['base'],
    message: 'factors need it',
  });

export const pricesQuery = z.strictObject({
  model: z.string().regex(NAME, 'is not a name').optional(),
});

/** What tokens cost: for everybody to read, and for admins to publish. */
export function pricesRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  const { database, log } = dependencies;
  app.get('/v1/prices', async (request) => {
    const { model } = parseQuery(pricesQuery, request.query);
    const rows = await listPrices(database, model ?? null);
    return { object: 'list' as const, data: rows.map(priceView) };
  });
  app.post<IdParams>('/v1/models/:id/prices', async (request, reply) => {
    const { accountId: admin } = await authenticateAdmin(database, request);
    parseQuery(noParameters, request.query);
    const body = parseQuery(published, request.body ?? {});
    const { id } = request.params;
    const { version, begins_at: beginsAt = null } = body;
    const matrix = matrixOf(body);
    const outcome = await inTransaction(database, (transaction) =>
      publishPrices(transaction, id, version, matrix, beginsAt),
    );
    if (outcome.kind === 'unknown_model') throw new CodedError('receive.unknown_model');
    if (outcome.kind === 'too_late')
      throw new MalformedRequestError('begins_at', 'is over: prices never change what was');
    if (outcome.kind === 'refused') {
      const taken = outcome.isTaken ? 'was published with other prices; ' : '';
      throw new MalformedRequestError('version', `${taken}the next one is ${outcome.nextVersion}`);
    }
    const isNew = outcome.kind === 'published';
    if (isNew) log.info({ model: id, version, admin }, 'gateway // prices published');
    const rows = await readPrices(database, id, version);
    return reply
      .code(isNew ? 201 : 200)
      .send({ object: 'list' as const, data: rows.map(priceView) });
  });
}

function matrixOf(body: z.infer<typeof published>): readonly MatrixPrice[] {
  const { prices, base, tier_factors: tiers, priority_factors: priorities } = body;
  if (base)
    return priceMatrix(
      { promptWei: base.prompt_price_wei, completionWei: base.completion_price_wei },
      {
        tiers: tiers ?? EQUAL_FACTORS.tiers,
        priorities: priorities ?? EQUAL_FACTORS.priorities,
      },
    );
  const matrix = (prices ?? []).map((price) => ({
    hardwareTier: price.hardware_tier,
    priority: price.priority,
    promptWei: price.prompt_price_wei,
    completionWei: price.completion_price_wei,
  }));
  if (isWhole(matrix)) return matrix;
  throw new MalformedRequestError('prices', 'must have each tier and priority once');
}

function priceView(row: PriceRow) {
  return {
    object: 'price' as const,
    model: row.modelId,
    version: row.version,
    hardware_tier: row.hardwareTier,
    priority: row.priority,
    prompt_price_wei: row.promptPriceWei,
    completion_price_wei: row.completionPriceWei,
    begins_at: row.beginsAt.toISOString(),
  };
}

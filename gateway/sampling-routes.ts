import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import {
  listDraws,
  listEpochs,
  readEpoch,
  type DrawRow,
  type EpochRow,
} from '../prisma/sampling.ts';
import { CodedError } from '../protocol/errors.ts';
import { isUnitId } from '../protocol/ids.ts';
import { REVEALED_EPOCHS_LATER } from '../protocol/sampling.ts';
import { authenticate, type GatewayDependencies } from './context.ts';
import { limitParameter, parseQuery, wholeNumber } from './query.ts';

const EPOCH_MAX = 0x7fff_ffff;
const epochNumber = wholeNumber(1, EPOCH_MAX);

export const epochsQuery = z.strictObject({
  limit: limitParameter(100, 1_000),
  before: epochNumber.optional(),
});

/** A unit and its dispatch, as \`next\` of the page before says it. */
const drawPlace = z.string().transform((text, context) => {
  const [unitId = '', dispatch = ''] = text.split(':');
  if (isUnitId(unitId) && /^\d{1,9}$/.test(dispatch)) return { unitId, dispatch: Number(dispatch) };
  context.addIssue('is not a unit and its dispatch');
  return z.NEVER;
});

export const drawsQuery = z.strictObject({
  epoch: epochNumber,
  limit: limitParameter(500, 1_000),
  after: drawPlace.optional(),
});

/**
 * What the draws of random checks were committed to with, for everybody; and the draws, once their
 * secret is revealed: all of them for admins, those of its own requests for an account.
 */
export function samplingRoutes(app: FastifyInstance, { database }: GatewayDependencies): void {
  app.get('/v1/sampling/epochs', async (request) => {
    const { limit, before } = parseQuery(epochsQuery, request.query);
    const rows = await listEpochs(database, before ?? null, limit + 1);
    return {
      object: 'list',
      data: rows.slice(0, limit).map(epochView),
      has_more: rows.length > limit,
    };
  });
  app.get('/v1/sampling/draws', async (request) => {
    const { accountId, isAdmin } = await authenticate(database, request, 'read');
    const { epoch, limit, after } = parseQuery(drawsQuery, request.query);
    const row = await readEpoch(database, epoch);
    if (!row) throw new CodedError('gateway.epoch_not_found');
    if (row.secret === null)
      throw new CodedError('gateway.epoch_not_revealed', await revealed(epoch));
    const filter = { epoch, accountId: isAdmin ? null : accountId, after: after ?? null };
    const draws = await listDraws(database, { ...filter, limit: limit + 1 });
    const data = draws.slice(0, limit).map(drawView);
    const last = draws.length > limit ? data.at(-1) : undefined;
    return {
      object: 'list',
      epoch,
      scope: isAdmin ? 'all' : 'account',
      data,
      next: last ? `${last.unit_id}:${last.dispatch}` : null,
      has_more: last !== undefined,
    };
  });

  async function revealed(epoch: number): Promise<string> {
    const number = epoch + REVEALED_EPOCHS_LATER;
    const later = await readEpoch(database, number);
    const when = later ? `, which is at ${later.beginsAt.toISOString()}` : '';
    return `Its secret is published once epoch ${number} has begun${when}.`;
  }
}

function epochView(row: EpochRow) {
  return {
    epoch: row.epoch,
    object: 'sampling.epoch' as const,
    begins_at: row.beginsAt.toISOString(),
    secret_hash: row.secretHash,
    policy: row.policy,
    policy_hash: row.policyHash,
    published_at: row.publishedAt.toISOString(),
    secret: row.secret,
    revealed_at: row.revealedAt?.toISOString() ?? null,
  };
}

function drawView(row: DrawRow) {
  return {
    unit_id: row.unitId,
    dispatch: row.dispatch,
    poe: row.poe,
    rate_ppm: row.ratePpm,
    draw: row.draw,
    is_sampled: row.isSampled,
    stored_at: row.storedAt.toISOString(),
    workload_class: row.workloadClass,
    outcome: row.outcome,
    request_status: row.status,
  };
}

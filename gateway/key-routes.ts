import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { apiKeyHash, apiKeyHint, drawApiKey } from '../crypto/api-key.ts';
import {
  listKeys,
  lockKey,
  readKey,
  replaceSecret,
  revokeKey,
  storeKey,
  updateKey,
  type KeyRow,
} from '../prisma/api-keys.ts';
import { inTransaction, type Database, type Transaction } from '../prisma/client.ts';
import { CodedError } from '../protocol/errors.ts';
import { changeRefusal, handOutRefusal, OVERLAP_SECONDS_MAX } from '../protocol/keys.ts';
import { authenticate, type Caller, type GatewayDependencies } from './context.ts';
import { changeBody, endOf, limitsOf, specBody, specOf } from './key-body.ts';
import { describeKey } from './key-view.ts';
import { limitParameter, listPage, noParameters, parseQuery } from './query.ts';
import type { IdParams } from './request-routes.ts';
import { KEYS_MAX } from './sign-in-routes.ts';

const KEY_ID = /^key_[0-9a-z]{1,64}$/;

export const keysQuery = z.strictObject({
  limit: limitParameter(20, 100),
  after: z.string().regex(KEY_ID, 'is not the id of a key').optional(),
});

export const rotateBody = z.strictObject({
  overlap_seconds: z.int().min(0).max(OVERLAP_SECONDS_MAX).default(0),
});

/** An account's keys, for keys with the scope `keys`. */
export function keyRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  const { database, log } = dependencies;
  const authorised = (request: FastifyRequest) => authenticate(database, request, 'keys');

  app.get('/v1/keys', async (request) => {
    const { accountId } = await authorised(request);
    const { limit, after } = parseQuery(keysQuery, request.query);
    if (after) await existing(readKey(database, accountId, after));
    const rows = await listKeys(database, accountId, after ?? null, limit + 1);
    return listPage(rows, limit, describeKey);
  });
  app.get<IdParams>('/v1/keys/:id', async (request) => {
    const { accountId } = await authorised(request);
    parseQuery(noParameters, request.query);
    return describeKey(await existing(readKey(database, accountId, idOf(request))));
  });
  app.post('/v1/keys', async (request, reply) => {
    const caller = await authorised(request);
    parseQuery(noParameters, request.query);
    const spec = specOf(parseQuery(specBody, request.body ?? {}));
    const { name, scopes, limits } = spec;
    const key = drawApiKey();
    const made = await inTransaction(database, async (transaction) => {
      const by = await lockCaller(transaction, caller);
      const expiresAt = endOf(spec, new Date());
      refuse(handOutRefusal(by, { scopes, expiresAt, isAdmin: false, limits }));
      const { accountId } = caller;
      const secret = { keyHash: apiKeyHash(key), hint: apiKeyHint(key) };
      const row = { accountId, ...secret, name, scopes, expiresAt, limits };
      return storeKey(transaction, row, KEYS_MAX);
    });
    if (!made) throw new CodedError('gateway.too_many_keys');
    log.info({ ...who(caller), key: made.id }, 'gateway // API key made');
    // Here and never again.
    reply.code(201).header('cache-control', 'no-store');
    return { ...describeKey(made), account: caller.accountId, key };
  });
  changeRoutes(app, dependencies);
}

/** What becomes of a key: it gets another secret, another name or other limits, or it ends. */
function changeRoutes(app: FastifyInstance, { database, log }: GatewayDependencies): void {
  const authorised = (request: FastifyRequest) => authenticate(database, request, 'keys');
  app.post<IdParams>('/v1/keys/:id/rotate', async (request, reply) => {
    const caller = await authorised(request);
    parseQuery(noParameters, request.query);
    const { overlap_seconds: overlapSeconds } = parseQuery(rotateBody, request.body ?? {});
    const key = drawApiKey();
    const rotated = await changed(database, caller, idOf(request), async (transaction, by, row) => {
      refuse(handOutRefusal(by, row));
      const secret = { keyHash: apiKeyHash(key), hint: apiKeyHint(key) };
      await replaceSecret(transaction, row.id, secret, overlapSeconds);
    });
    log.info({ ...who(caller), key: rotated.id, overlapSeconds }, 'gateway // API key rotated');
    reply.header('cache-control', 'no-store');
    return { ...describeKey(rotated), account: caller.accountId, key };
  });
  app.patch<IdParams>('/v1/keys/:id', async (request) => {
    const caller = await authorised(request);
    parseQuery(noParameters, request.query);
    const given = parseQuery(changeBody, request.body ?? {});
    const row = await changed(database, caller, idOf(request), async (transaction, by, row) => {
      const limits = limitsOf(row.limits, given.limits);
      refuse(changeRefusal(by, row, limits));
      await updateKey(transaction, row.id, { name: given.name ?? row.name, limits });
    });
    log.info({ ...who(caller), key: row.id }, 'gateway // API key changed');
    return describeKey(row);
  });
  app.delete<IdParams>('/v1/keys/:id', async (request) => {
    const caller = await authorised(request);
    parseQuery(noParameters, request.query);
    const { accountId } = caller;
    const id = idOf(request);
    const revoked = await inTransaction(database, async (transaction) => {
      const { by, row } = await lockBoth(transaction, caller, id);
      if (row.isAdmin && !by.isAdmin) throw new CodedError('gateway.admin_required');
      await revokeKey(transaction, row.id);
      return existing(readKey(transaction, accountId, row.id));
    });
    log.info({ ...who(caller), key: revoked.id }, 'gateway // API key revoked');
    return describeKey(revoked);
  });
}

/** Does something to a key that may be used, while nobody else does, and reads it again. */
async function changed(
  database: Database,
  caller: Caller,
  id: string,
  change: (transaction: Transaction, by: KeyRow, row: KeyRow) => Promise<void>,
): Promise<KeyRow> {
  return inTransaction(database, async (transaction) => {
    const { by, row } = await lockBoth(transaction, caller, id);
    if (!row.isActive) throw new CodedError('gateway.key_not_found', 'It has ended.');
    await change(transaction, by, row);
    return existing(readKey(transaction, caller.accountId, id));
  });
}

/** The caller's key and another one, or the same, as they are now. */
async function lockBoth(
  transaction: Transaction,
  caller: Caller,
  id: string,
): Promise<{ readonly by: KeyRow; readonly row: KeyRow }> {
  const { accountId, keyId } = caller;
  // In one order, so that no two wait for each other.
  const rows = new Map<string, KeyRow | undefined>();
  for (const each of [...new Set([keyId, id])].toSorted())
    rows.set(each, await lockKey(transaction, accountId, each));
  const by = stillHeld(rows.get(keyId), caller);
  const row = rows.get(id);
  if (!row) throw new CodedError('gateway.key_not_found');
  return { by, row };
}

async function lockCaller(transaction: Transaction, caller: Caller): Promise<KeyRow> {
  return stillHeld(await lockKey(transaction, caller.accountId, caller.keyId), caller);
}

/** Since it was looked up, the caller's key may have been revoked, or been given another secret. */
function stillHeld(by: KeyRow | undefined, { keyHash }: Caller): KeyRow {
  if (!by?.isActive || by.keyHash !== keyHash) throw new CodedError('receive.unauthorized');
  return by;
}

/** @throws CodedError `gateway.key_not_found` if the path has no id of a key. */
function idOf({ params: { id } }: FastifyRequest<IdParams>): string {
  if (!KEY_ID.test(id)) throw new CodedError('gateway.key_not_found');
  return id;
}

async function existing(reading: Promise<KeyRow | undefined>): Promise<KeyRow> {
  const row = await reading;
  if (!row) throw new CodedError('gateway.key_not_found');
  return row;
}

/** @throws CodedError `gateway.scope_missing` with the reason, if there is one. */
function refuse(reason: string | undefined): void {
  if (reason !== undefined) throw new CodedError('gateway.scope_missing', reason);
}

function who({ accountId, keyId }: Caller) {
  return { account: accountId, by: keyId };
}

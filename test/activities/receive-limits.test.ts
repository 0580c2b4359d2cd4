import assert from 'node:assert/strict';
import { abandon, receive } from '../../activities/receive.ts';
import type { Prisma } from '../../prisma/generated/client.ts';
import { CodedError, type ErrorCode } from '../../protocol/errors.ts';
import type { IntakeCall, RequestParameters } from '../../protocol/receive.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';
import {
  addApiKey,
  balances,
  count,
  intakeCall,
  receiveKeys,
  seedInstant,
} from '../support/seeded.ts';

const DIGEST = 'a'.repeat(64);

describe('activities/receive: keys, limits and repeated calls', () => {
  let db: TestDatabase;
  beforeEach(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
  });
  afterEach(() => db.close());

  const addKey = (limits: Parameters<typeof addApiKey>[1] = {}) => addApiKey(db.database, limits);
  const callBy = async (keyId: string, changed: Partial<RequestParameters> = {}) => ({
    ...(await intakeCall(changed)),
    keyId,
  });
  const take = (call: IntakeCall) => receive(db.database, receiveKeys, call);
  const row = (id: string) => db.database.request.findUniqueOrThrow({ where: { id } });

  /** Nothing is stored, reserved or counted by it. */
  async function refused(call: IntakeCall, code: ErrorCode): Promise<CodedError> {
    const state = async () => [
      await balances(db.database),
      await count(db.database, 'request'),
      await db.database.apiKey.findMany({ orderBy: { id: 'asc' } }),
    ];
    const before = await state();
    const error = await take(call).then(
      () => assert.fail('it was accepted'),
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof CodedError, String(error));
    assert.equal(error.code, code);
    assert.deepEqual(await state(), before);
    return error;
  }

  it('stores the key, the digest of the body and the version of the price', async () => {
    const keyId = await addKey();
    const call = { ...(await callBy(keyId)), bodyDigest: DIGEST };
    const { accepted, rateLimits } = await take(call);
    const stored = await row(accepted.requestId);
    assert.deepEqual([stored.keyId, stored.bodyDigest, stored.priceVersion], [keyId, DIGEST, 1]);
    assert.equal(rateLimits, undefined);
    const plain = await row((await take(await intakeCall())).accepted.requestId);
    assert.deepEqual([plain.keyId, plain.bodyDigest], [null, null]);
  });

  it('charges by tier and priority, and reserves for every choice', async () => {
    const reserved = async (changed: Partial<RequestParameters>) =>
      BigInt((await take(await intakeCall(changed))).accepted.reservedWei);
    const prompt = async (maxTokens: number, choices?: number) =>
      reserved({ maxTokens, ...(choices === undefined ? {} : { choices }) });
    const one = await prompt(16);
    // A token of text is 0.4 PRLX per million.
    assert.equal((await prompt(16, 5)) - one, 4n * 16n * 400_000_000_000n);
    assert.equal(await prompt(16, 1), one);
    assert.equal(await reserved({ hardwareTier: 3, priority: 'urgent' }), 4n * one);
    const { accepted } = await take(await intakeCall({ maxTokens: 16, choices: 5 }));
    const single = await take(await intakeCall({ maxTokens: 16 }));
    const each = Math.ceil(accepted.payloadBytes / 4) + 16;
    assert.equal(accepted.complexity - single.accepted.complexity, 4 * each);
  });

  it('refuses what has no price: nothing is allocated or reserved', async () => {
    const {
      id: _,
      createdAt: __,
      ...like
    } = await db.database.model.findUniqueOrThrow({
      where: { id: 'instant' },
    });
    const price = { version: 1, hardwareTier: 2, promptPriceWei: 1, completionPriceWei: 1 };
    const prices = { create: { ...price, priority: 'standard' } };
    await db.database.model.create({ data: { ...like, id: 'partly', prices } });
    const asked = { model: 'partly', hardwareTier: 2 } as const;
    await refused(await intakeCall({ ...asked, priority: 'urgent' }), 'receive.no_price');
    await take(await intakeCall(asked));
  });

  it('refuses a repeated call that asks for something else, or that is of another', async () => {
    const keyId = await addKey();
    const call = { ...(await callBy(keyId)), bodyDigest: DIGEST };
    const first = await take(call);
    const again = await take(call);
    assert.deepEqual([again.isJoined, again.accepted.requestId], [true, first.accepted.requestId]);
    await refused({ ...call, bodyDigest: 'b'.repeat(64) }, 'receive.idempotency_mismatch');
    const { bodyDigest: _, ...without } = call;
    await refused(without, 'receive.idempotency_mismatch');
    const { keyId: __, ...other } = call;
    await refused({ ...other, accountId: 'acct_other' }, 'receive.idempotency_mismatch');
    // Another key of the account may well repeat it.
    assert.equal((await take({ ...call, keyId: await addKey() })).isJoined, true);
  });

  it('refuses a key that has ended, and one that charges another account', async () => {
    const ended = await addKey({ revokedAt: new Date(Date.now() - 1) });
    await refused(await callBy(ended), 'receive.unauthorized');
    await refused(await callBy('key_nobody'), 'receive.unauthorized');
    const call = await callBy(await addKey());
    const error = await refused(
      { ...call, accountId: 'acct_other' },
      'receive.credit_account_forbidden',
    );
    assert.equal(error.metadata, undefined);
  });

  it('holds each limit of a key, and says which one it was', async () => {
    const limited = async (
      limits: Partial<Prisma.ApiKeyUncheckedCreateInput>,
      code: ErrorCode,
      limit: string,
    ) => {
      const keyId = await addKey(limits);
      const { accepted, rateLimits } = await take(await callBy(keyId));
      const error = await refused(await callBy(keyId), code);
      assert.equal(error.metadata?.['limit'], limit);
      assert.equal(error.metadata?.['remaining'], String(error.metadata?.['remaining']));
      // Another key of the account is none the worse for it.
      await take(await callBy(await addKey()));
      return { keyId, accepted, rateLimits, error };
    };
    const rate = await limited(
      { requestsPerMinute: 1 },
      'receive.rate_limited',
      'requests_per_minute',
    );
    assert.deepEqual(rate.rateLimits, { requests: { limit: 1, remaining: 0, reset_seconds: 60 } });
    await limited({ tokensPerMinute: 600 }, 'receive.rate_limited', 'tokens_per_minute');
    const busy = await limited({ concurrency: 1 }, 'receive.rate_limited', 'concurrency');
    await abandon(db.database, busy.accepted.requestId);
    await take(await callBy(busy.keyId));
    const price = BigInt(busy.accepted.reservedWei);
    const budgetWei = String(2n * price - 1n);
    const poor = await limited({ budgetWei }, 'receive.budget_exhausted', 'budget');
    assert.equal(poor.error.metadata?.['remaining'], String(price - 1n));
    // What is free gives its part of the budget back.
    await abandon(db.database, poor.accepted.requestId);
    await take(await callBy(poor.keyId));
  });

  it('counts all that may be generated against the tokens of a minute', async () => {
    const keyId = await addKey({ tokensPerMinute: 1_000 });
    const error = await refused(
      await callBy(keyId, { maxTokens: 100, choices: 10 }),
      'receive.rate_limited',
    );
    assert.equal(error.metadata?.['retry_after_seconds'], null);
    const { rateLimits } = await take(await callBy(keyId, { maxTokens: 100, choices: 2 }));
    const { payloadBytes } = (await take(await intakeCall())).accepted;
    assert.equal(rateLimits?.tokens?.remaining, 1_000 - 200 - payloadBytes - 256);
  });

  it('admits to the last one, and no more, of many at once', async () => {
    const one = BigInt((await take(await intakeCall())).accepted.reservedWei);
    for (const limits of [
      { concurrency: 5 },
      { requestsPerMinute: 5 },
      { budgetWei: String(6n * one - 1n) },
    ]) {
      const keyId = await addKey(limits);
      const calls = await Promise.all(Array.from({ length: 24 }, () => callBy(keyId)));
      const outcomes = await Promise.allSettled(calls.map(take));
      const accepted = outcomes.filter(({ status }) => status === 'fulfilled').length;
      assert.equal(accepted, 5, JSON.stringify(limits));
      const key = await db.database.apiKey.findUniqueOrThrow({ where: { id: keyId } });
      assert.deepEqual([key.inFlight, key.reservedWei.toFixed()], [5, String(5n * one)]);
    }
  });

  it('joins, never refuses, a repeated call whose first took the last of a limit', async () => {
    for (let round = 0; round < 8; round++) {
      const call = await callBy(await addKey({ concurrency: 1 }));
      const received = await Promise.all(Array.from({ length: 6 }, () => take(call)));
      assert.equal(new Set(received.map(({ accepted }) => accepted.requestId)).size, 1);
    }
  });
});

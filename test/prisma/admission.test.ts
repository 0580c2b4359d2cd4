import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import * as fc from 'fast-check';
import { inTransaction } from '../../prisma/client.ts';
import type { ApiKeyModel } from '../../prisma/generated/models.ts';
import { deposit, openLedgerAccounts } from '../../prisma/ledger.ts';
import type { Admission } from '../../protocol/limits.ts';
import { storeRequest } from '../support/drawn.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const ACCOUNT = 'acct_keys';
const CREDIT = 1_000n;

/** A key's limits and counters; absent limits are none. */
type Key = Partial<Omit<ApiKeyModel, 'keyHash' | 'budgetWei' | 'spentWei' | 'reservedWei'>> & {
  readonly budgetWei?: number | null;
  readonly spentWei?: number;
  readonly reservedWei?: number;
};

describe('prisma/admission', () => {
  let db: TestDatabase;
  before(async () => {
    db = await freshDatabase();
    await db.database.account.create({ data: { id: ACCOUNT, name: 'Keys' } });
    await inTransaction(db.database, async (transaction) => {
      await openLedgerAccounts(transaction, ACCOUNT);
      await deposit(transaction, 'keys', ACCOUNT, CREDIT);
    });
  });
  after(() => db.close());

  const addKey = (key: Key = {}) =>
    db.database.apiKey.create({ data: { keyHash: randomUUID(), accountId: ACCOUNT, ...key } });
  const keyOf = (id: string) => db.database.apiKey.findUniqueOrThrow({ where: { id } });

  /** What comes of it; nothing stays of it afterwards unless it is to. */
  async function admit(keyId: string, amountWei: number, tokens: number, account = ACCOUNT) {
    const [row] = await db.database.$queryRaw<{ admission: Admission }[]>`
      SELECT request_admit(${randomUUID()}, ${account}, ${keyId}, ${amountWei}::numeric,
                           ${tokens}::bigint) AS admission`;
    return row?.admission ?? assert.fail();
  }

  async function giveBack(): Promise<void> {
    await db.database.$executeRaw`
      INSERT INTO ledger_transfer (key, purpose, debit_id, credit_id, amount_wei)
      SELECT gen_random_uuid()::text, 'test', id, ${`${ACCOUNT}:available`}, balance_wei
      FROM ledger_account WHERE id = ${`${ACCOUNT}:reserved`} AND balance_wei > 0`;
  }

  it('admits exactly what each limit, the budget and the credit leave room for', async () => {
    const limit = fc.option(fc.integer({ min: 1, max: 6 }));
    const key = fc.record({
      requestsPerMinute: limit,
      tokensPerMinute: fc.option(fc.integer({ min: 1, max: 40 })),
      concurrency: limit,
      budgetWei: fc.option(fc.nat(1_500)),
      inFlight: fc.nat(5),
      windowRequests: fc.nat(5),
      windowTokens: fc.nat(30),
      spentWei: fc.nat(500),
      reservedWei: fc.nat(500),
    });
    // So small that each of them is often what refuses.
    const amount = fc.oneof(fc.nat(200), fc.nat(1_100));
    await fc.assert(
      fc.asyncProperty(key, amount, fc.nat(20), async (given, amountWei, tokens) => {
        const { id } = await addKey({ ...given, windowTokens: BigInt(given.windowTokens) });
        const before = await keyOf(id);
        const { refused = null } = await admit(id, amountWei, tokens);
        const over = (used: number, most: number | null) => most !== null && used > most;
        const expected = over(given.spentWei + given.reservedWei + amountWei, given.budgetWei)
          ? 'budget'
          : over(given.windowRequests + 1, given.requestsPerMinute)
            ? 'requests_per_minute'
            : over(given.windowTokens + tokens, given.tokensPerMinute)
              ? 'tokens_per_minute'
              : over(given.inFlight + 1, given.concurrency)
                ? 'concurrency'
                : amountWei > CREDIT
                  ? 'credit'
                  : null;
        assert.equal(refused, expected);
        const after = await keyOf(id);
        if (refused !== null) return assert.deepEqual(after, before);
        assert.deepEqual(
          [after.inFlight, after.windowRequests, after.windowTokens, after.reservedWei.toFixed()],
          [
            given.inFlight + 1,
            given.windowRequests + 1,
            BigInt(given.windowTokens + tokens),
            String(given.reservedWei + amountWei),
          ],
        );
        await giveBack();
      }),
      { numRuns: 150 },
    );
  });

  it('counts a new minute from zero', async () => {
    const minuteAgo = new Date(Date.now() - 61_000);
    const { id } = await addKey({
      requestsPerMinute: 1,
      windowRequests: 1,
      windowTokens: 70n,
      windowBeganAt: minuteAgo,
    });
    assert.equal((await admit(id, 1, 5)).refused, null);
    assert.equal((await admit(id, 1, 5)).refused, 'requests_per_minute');
    const { windowRequests, windowTokens, windowBeganAt } = await keyOf(id);
    assert.deepEqual([windowRequests, windowTokens], [1, 5n]);
    assert.ok(windowBeganAt > minuteAgo);
  });

  for (const [period, isNew] of [
    ['day', true],
    ['month', true],
    ['total', false],
  ] as const)
    it(`${isNew ? 'begins each' : 'never begins a'} ${period} with a whole budget`, async () => {
      const longAgo = new Date(Date.now() - 40 * 86_400_000);
      const { id } = await addKey({
        budgetWei: 10,
        budgetPeriod: period,
        spentWei: 10,
        periodBeganAt: longAgo,
      });
      const { refused = null } = await admit(id, 4, 1);
      assert.equal(refused, isNew ? null : 'budget');
      const { spentWei, periodBeganAt } = await keyOf(id);
      assert.equal(spentWei.toNumber(), isNew ? 0 : 10);
      const today = new Date().toISOString().slice(0, period === 'day' ? 10 : 7);
      if (isNew) assert.equal(periodBeganAt.toISOString().slice(0, today.length), today);
      else assert.deepEqual(periodBeganAt, longAgo);
    });

  it('takes an ended key as unknown, and charges no other account', async () => {
    const past = new Date(Date.now() - 1_000);
    for (const ended of [{ revokedAt: past }, { expiresAt: past }])
      assert.equal((await admit((await addKey(ended)).id, 1, 1)).refused, 'key');
    assert.equal((await admit('key_unknown', 1, 1)).refused, 'key');
    const { id } = await addKey({ expiresAt: new Date(Date.now() + 60_000) });
    assert.equal((await admit(id, 1, 1)).refused, null);
    assert.equal((await admit(id, 1, 1, 'acct_other')).refused, 'account');
  });

  it('takes nothing off a period for what was charged in the one before', async () => {
    const midnight = new Date(new Date().toISOString().slice(0, 10));
    const { id: keyId } = await addKey({ budgetPeriod: 'day', spentWei: 3 });
    // It ended in the last half of a millisecond of yesterday.
    const given = { accountId: ACCOUNT, chargedWei: 5, finishedAt: midnight };
    const id = await storeRequest(db.database, given);
    await db.database.apiKey.update({ where: { id: keyId }, data: { periodBeganAt: midnight } });
    await db.database.request.update({ where: { id }, data: { keyId } });
    const refund = { refundedWei: 5, refundCode: 'node.removed_wrong_results' };
    await db.database.request.update({ where: { id }, data: refund });
    assert.equal((await keyOf(keyId)).spentWei.toNumber(), 0);
  });

  it('alerts once a period when what is spent leaves no room for a request', async () => {
    const { id } = await addKey({ budgetWei: 100, spentWei: 85 });
    const alerts = () => db.database.budgetAlert.findMany({ where: { keyId: id } });
    // It fits no budget, or it would fit once something ends: that says nothing of what is spent.
    assert.equal((await admit(id, 101, 1)).refused, 'budget');
    await db.database.apiKey.update({ where: { id }, data: { reservedWei: 10 } });
    assert.equal((await admit(id, 15, 1)).refused, 'budget');
    assert.deepEqual(await alerts(), []);
    for (const _ of [1, 2]) assert.equal((await admit(id, 20, 1)).refused, 'budget');
    const [alert, ...others] = await alerts();
    assert.deepEqual([alert?.percent, alert?.spentWei.toNumber(), others], [100, 85, []]);
  });

  it('has no limits without a key', async () => {
    const [row] = await db.database.$queryRaw<{ admission: Admission }[]>`
      SELECT request_admit('unit', ${ACCOUNT}, NULL, 1, 1) AS admission`;
    assert.deepEqual(row?.admission, {});
    const [poor] = await db.database.$queryRaw<{ admission: Admission }[]>`
      SELECT request_admit('unit2', ${ACCOUNT}, NULL, 10000, 1) AS admission`;
    assert.deepEqual(poor?.admission, { refused: 'credit' });
  });
});

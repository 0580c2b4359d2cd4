import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { inTransaction } from '../../prisma/client.ts';
import { deposit, openLedgerAccounts, reserve, settleReservation } from '../../prisma/ledger.ts';
import { settlement } from '../../protocol/settle.ts';
import { balances } from '../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const MAX_WEI = 10n ** 40n;

describe('prisma/ledger', () => {
  let db: TestDatabase;
  before(async () => {
    db = await freshDatabase();
  });
  after(() => db.close());

  it('conserves money and overdraws nobody, whatever is posted and however often', async () => {
    let run = 0;
    const amount = fc.bigInt({ min: 0n, max: MAX_WEI });
    const unit = fc.record({ reserved: amount, used: amount, delivered: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(amount, fc.array(unit, { maxLength: 6 }), async (funds, units) => {
        const account = `acct_${run++}`;
        await inTransaction(db.database, (transaction) => openLedgerAccounts(transaction, account));
        // Everything is posted twice: what runs at least once must count once.
        for (const _ of [1, 2])
          await inTransaction(db.database, (transaction) =>
            deposit(transaction, account, account, funds),
          );
        let available = funds;
        for (const [index, { reserved, used, delivered }] of units.entries()) {
          const id = `${account}:unit_${index}`;
          const granted = await inTransaction(db.database, (transaction) =>
            reserve(transaction, id, account, reserved),
          );
          assert.equal(granted, available >= reserved);
          if (!granted) continue;
          const end = settlement(delivered ? 'completed' : 'failed', reserved, used);
          for (const _ of [1, 2])
            await inTransaction(db.database, (transaction) =>
              settleReservation(transaction, id, account, end.captureWei, end.releaseWei),
            );
          available -= end.captureWei;
        }
        const now = await balances(db.database);
        assert.equal(now[`${account}:available`], available);
        assert.equal(now[`${account}:reserved`], 0n);
        const sum = Object.values(now).reduce((total, wei) => total + wei, 0n);
        assert.equal(sum, 0n);
      }),
      { numRuns: 25 },
    );
  });

  it('reserves and settles for one payer at once, without a deadlock', async () => {
    const account = 'acct_busy';
    const units = Array.from({ length: 60 }, (_, index) => `busy_${index}`);
    await inTransaction(db.database, async (transaction) => {
      await openLedgerAccounts(transaction, account);
      await deposit(transaction, account, account, 1_000n);
    });
    await Promise.all(
      units.map(async (unit) => {
        await inTransaction(db.database, (transaction) => reserve(transaction, unit, account, 10n));
        await inTransaction(db.database, (transaction) =>
          settleReservation(transaction, unit, account, 4n, 6n),
        );
      }),
    );
    const now = await balances(db.database);
    assert.equal(now[`${account}:available`], 1_000n - 60n * 4n);
    assert.equal(now[`${account}:reserved`], 0n);
  });

  it('has balances that follow from its transfers alone', async () => {
    const rows = await db.database.$queryRaw<{ id: string }[]>`
      SELECT account.id FROM ledger_account AS account WHERE balance_wei <>
        coalesce((SELECT sum(amount_wei) FROM ledger_transfer WHERE credit_id = account.id), 0) -
        coalesce((SELECT sum(amount_wei) FROM ledger_transfer WHERE debit_id = account.id), 0)`;
    assert.deepEqual(rows, []);
  });

  it('is append-only: the database refuses to change or delete a transfer', async () => {
    await assert.rejects(
      db.database.$executeRaw`UPDATE ledger_transfer SET amount_wei = 1`,
      /append-only/,
    );
    await assert.rejects(db.database.$executeRaw`DELETE FROM ledger_transfer`, /append-only/);
    await assert.rejects(db.database.$executeRaw`TRUNCATE ledger_transfer`, /append-only/);
  });

  it('keeps every price, and with it each model that has one', async () => {
    const { database } = db;
    for (const id of ['priced', 'free'])
      await database.model.create({
        data: { id, digest: 'd', contextTokens: 1, promptPriceWei: 1, completionPriceWei: 1 },
      });
    await database.$executeRaw`
      INSERT INTO price (model_id, version, hardware_tier, priority, prompt_price_wei,
                         completion_price_wei)
      VALUES ('priced', 1, 1, 'standard', 1, 1)`;
    for (const refused of [
      database.$executeRaw`UPDATE price SET prompt_price_wei = 2`,
      database.$executeRaw`DELETE FROM price`,
      database.$executeRaw`TRUNCATE price`,
    ])
      await assert.rejects(refused, /append-only/);
    await assert.rejects(database.$executeRaw`DELETE FROM model WHERE id = 'priced'`, /price/);
    assert.equal(await database.$executeRaw`DELETE FROM model WHERE id = 'free'`, 1);
  });

  it('refuses, in the database, overdrafts, bad amounts, unknown accounts', async () => {
    const insert = (debit: string, credit: string, wei: string) =>
      db.database.$executeRaw`
        INSERT INTO ledger_transfer (key, purpose, debit_id, credit_id, amount_wei)
        VALUES (gen_random_uuid()::text, 'test', ${debit}, ${credit}, ${wei}::numeric)`;
    await inTransaction(db.database, (transaction) => openLedgerAccounts(transaction, 'acct_x'));
    await assert.rejects(insert('acct_x:available', 'usage', '1'), /not_overdrawn/);
    await assert.rejects(insert('funding', 'acct_x:available', '0'), /positive/);
    await assert.rejects(insert('funding', 'acct_x:available', '-5'), /positive/);
    await assert.rejects(insert('funding', 'funding', '5'), /two_sides/);
    await assert.rejects(insert('funding', 'nobody', '5'), /no ledger account/);
  });
});

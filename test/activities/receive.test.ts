import assert from 'node:assert/strict';
import { abandon, receive } from '../../activities/receive.ts';
import { inTransaction } from '../../prisma/client.ts';
import { deposit } from '../../prisma/ledger.ts';
import { CodedError, type ErrorCode } from '../../protocol/errors.ts';
import type { IntakeCall } from '../../protocol/receive.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';
import {
  ACCOUNT,
  balances,
  count,
  intakeCall,
  receiveKeys,
  requester,
  seedInstant,
} from '../support/seeded.ts';

describe('activities/receive', () => {
  let db: TestDatabase;
  beforeEach(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
  });
  afterEach(() => db.close());

  it('reserves the highest possible price, and then allocates the id', async () => {
    const before = await balances(db.database);
    const { accepted } = await receive(db.database, receiveKeys, await intakeCall());
    assert.match(accepted.requestId, /^req_[0-9a-f]{64}$/);
    const after = await balances(db.database);
    const reserved = BigInt(accepted.reservedWei);
    assert.ok(reserved > 0n);
    assert.equal(after[`${ACCOUNT}:reserved`], reserved);
    assert.equal(after[`${ACCOUNT}:available`], (before[`${ACCOUNT}:available`] ?? 0n) - reserved);
    assert.equal(accepted.deadlineAtMs - accepted.acceptedAtMs, 30_000);
    assert.equal(accepted.envelope.recipients[0]?.header.alg, 'A256KW');
  });

  it('joins the request of the same intake key, also when two calls come at once', async () => {
    const call = await intakeCall();
    const received = await Promise.all(
      Array.from({ length: 6 }, () => receive(db.database, receiveKeys, call)),
    );
    assert.equal(new Set(received.map(({ accepted }) => accepted.requestId)).size, 1);
    assert.equal(received.filter(({ isJoined }) => !isJoined).length, 1);
    assert.equal(await count(db.database, 'request'), 1);
    const after = await balances(db.database);
    assert.equal(after[`${ACCOUNT}:reserved`], BigInt(received[0]?.accepted.reservedWei ?? -1));
  });

  const refusals: [string, ErrorCode, (call: IntakeCall) => IntakeCall | Promise<IntakeCall>][] = [
    ['an unknown model', 'receive.unknown_model', () => intakeCall({ model: 'gpt-7' })],
    [
      'an unknown workload class',
      'receive.unknown_workload_class',
      () => intakeCall({ workloadClass: 'mining' as 'ai.inference' }),
    ],
    [
      'parameters other than those that were sealed',
      'receive.envelope_invalid',
      (call) => ({ ...call, parameters: { ...call.parameters, maxTokens: 1 } }),
    ],
    [
      'another requester key than the one that was sealed',
      'receive.envelope_invalid',
      (call) => ({ ...call, requesterKey: { ...requester.publicJwk, x: 'A'.repeat(43) } }),
    ],
    [
      'an account without ledger',
      'receive.insufficient_credit',
      (call) => ({ ...call, accountId: 'acct_nobody' }),
    ],
  ];
  for (const [name, code, change] of refusals)
    it(`refuses ${name}: nothing is allocated or reserved`, async () => {
      const before = await balances(db.database);
      const call = await change(await intakeCall());
      await assert.rejects(receive(db.database, receiveKeys, call), (error) => {
        assert.ok(error instanceof CodedError);
        return error.code === code;
      });
      assert.deepEqual(await balances(db.database), before);
      assert.equal(await count(db.database, 'request'), 0);
    });

  it('refuses the request that credit no longer covers, however many come at once', async () => {
    const call = await intakeCall();
    const {
      accepted: { reservedWei },
    } = await receive(db.database, receiveKeys, call);
    // Leave room for exactly three more.
    const room = 3n * BigInt(reservedWei);
    const available = (await balances(db.database))[`${ACCOUNT}:available`] ?? 0n;
    await drain('drain', available - room);
    const calls = await Promise.all(Array.from({ length: 8 }, () => intakeCall()));
    const outcomes = await Promise.allSettled(
      calls.map((each) => receive(db.database, receiveKeys, each)),
    );
    assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 3);
    for (const outcome of outcomes)
      if (outcome.status === 'rejected') {
        assert.ok(outcome.reason instanceof CodedError);
        assert.equal(outcome.reason.code, 'receive.insufficient_credit');
      }
    assert.equal((await balances(db.database))[`${ACCOUNT}:available`], 0n);
  });

  it('joins, never refuses, a repeated call whose first took all the credit', async () => {
    for (let round = 0; round < 8; round++) {
      const call = await intakeCall();
      const available = (await balances(db.database))[`${ACCOUNT}:available`] ?? 0n;
      const { accepted } = await receive(db.database, receiveKeys, await intakeCall());
      const price = BigInt(accepted.reservedWei);
      await drain(`drain-${round}`, available - 2n * price);
      const received = await Promise.all(
        Array.from({ length: 6 }, () => receive(db.database, receiveKeys, call)),
      );
      assert.equal(new Set(received.map((each) => each.accepted.requestId)).size, 1);
      assert.equal((await balances(db.database))[`${ACCOUNT}:available`], 0n);
      await inTransaction(db.database, (transaction) =>
        deposit(transaction, `refill-${round}`, ACCOUNT, 10n ** 20n),
      );
    }
  });

  it('gives everything back, once, when the workflow never starts', async () => {
    const before = await balances(db.database);
    const {
      accepted: { requestId },
    } = await receive(db.database, receiveKeys, await intakeCall());
    assert.equal(await abandon(db.database, requestId), true);
    assert.equal(await abandon(db.database, requestId), false);
    assert.deepEqual(await balances(db.database), before);
    const [event] = await db.database.failureEvent.findMany();
    assert.equal(event?.code, 'receive.not_started');
  });

  async function drain(key: string, amountWei: bigint): Promise<void> {
    await db.database.$executeRaw`
      INSERT INTO ledger_transfer (key, purpose, debit_id, credit_id, amount_wei)
      VALUES (${key}, 'test', ${`${ACCOUNT}:available`}, 'funding',
              ${amountWei.toString()}::numeric)`;
  }
});

import assert from 'node:assert/strict';
import pino from 'pino';
import { abandon, receive } from '../../activities/receive.ts';
import { settle } from '../../activities/settle.ts';
import { tellBudgetAlerts } from '../../intake/budget-alerts.ts';
import type { FinalState } from '../../protocol/lifecycle.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';
import { ACCOUNT, addApiKey, intakeCall, receiveKeys, seedInstant } from '../support/seeded.ts';

/** Of a token of the prompt, as seeded. */
const TOKEN_WEI = 100_000_000_000n;

describe('activities/settle', () => {
  let db: TestDatabase;
  beforeEach(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
  });
  afterEach(() => db.close());

  const addKey = (limits: Parameters<typeof addApiKey>[1] = {}) => addApiKey(db.database, limits);
  const key = async (id: string) => {
    const found = await db.database.apiKey.findUniqueOrThrow({ where: { id } });
    return [found.inFlight, BigInt(found.reservedWei.toFixed()), BigInt(found.spentWei.toFixed())];
  };
  const accept = async (keyId: string) =>
    (await receive(db.database, receiveKeys, { ...(await intakeCall()), keyId })).accepted;

  /** Ends it with that many tokens of the prompt to pay for. */
  async function end(keyId: string, state: FinalState, promptTokens: number, times = 1) {
    const { requestId, accountId, price, reservedWei } = await accept(keyId);
    const code = state === 'completed' ? null : ('execute.cancelled' as const);
    const usage = { promptTokens, completionTokens: 0 };
    const input = { requestId, accountId, state, code, usage, price, reservedWei, timeline: [] };
    for (let time = 0; time < times; time++) await settle(db.database, input);
    return requestId;
  }

  for (const [state, tokens] of [
    ['completed', 7n],
    ['cancelled', 7n],
    ['failed', null],
    ['invalidated', null],
  ] as const)
    it(`writes what of a ${state} request was charged for, and counts it once`, async () => {
      const keyId = await addKey();
      const id = await end(keyId, state, 7, 2);
      const row = await db.database.request.findUniqueOrThrow({ where: { id } });
      assert.equal(row.promptTokens, tokens);
      assert.equal(row.completionTokens, tokens === null ? null : 0n);
      assert.deepEqual(await key(keyId), [0, 0n, tokens === null ? 0n : 7n * TOKEN_WEI]);
    });

  it('gives a key its counters back however a request ends', async () => {
    const keyId = await addKey();
    const { requestId, reservedWei } = await accept(keyId);
    assert.deepEqual(await key(keyId), [1, BigInt(reservedWei), 0n]);
    await abandon(db.database, requestId);
    await abandon(db.database, requestId);
    assert.deepEqual(await key(keyId), [0, 0n, 0n]);
    const other = await accept(keyId);
    await db.database.request.update({
      where: { id: other.requestId },
      data: { status: 'failed', finishedAt: new Date() },
    });
    assert.deepEqual(await key(keyId), [0, 0n, 0n]);
  });

  it('takes a refund off what is spent, of the period in which it was charged', async () => {
    const keyId = await addKey({ budgetPeriod: 'day' });
    const refund = (id: string) =>
      db.database.$executeRaw`
        UPDATE request SET refunded_wei = charged_wei, refund_code = 'node.removed_wrong_results'
        WHERE id = ${id}`;
    const [first, second] = [await end(keyId, 'completed', 3), await end(keyId, 'completed', 5)];
    await refund(first);
    assert.deepEqual(await key(keyId), [0, 0n, 5n * TOKEN_WEI]);
    // All of this was yesterday; today something else is spent.
    await db.database.$executeRaw`UPDATE request SET finished_at = finished_at - interval '1 day'`;
    await db.database.$executeRaw`
      UPDATE api_key SET period_began_at = period_began_at - interval '1 day'`;
    await end(keyId, 'completed', 2);
    assert.deepEqual(await key(keyId), [0, 0n, 2n * TOKEN_WEI]);
    await refund(second);
    assert.deepEqual(await key(keyId), [0, 0n, 2n * TOKEN_WEI]);
  });

  it('alerts once at 80 and once at 100 %, and tells the log of it once', async () => {
    const reserved = BigInt((await accept(await addKey())).reservedWei);
    // So much that five requests spend all of the budget, and the fifth can't be reserved.
    const tokens = Number(reserved / TOKEN_WEI) - 1;
    const spent = BigInt(tokens) * TOKEN_WEI;
    const keyId = await addKey({ budgetWei: String(5n * spent) });
    const percents = async () =>
      (await db.database.budgetAlert.findMany({ where: { keyId }, orderBy: { id: 'asc' } })).map(
        ({ percent, spentWei }) => [percent, BigInt(spentWei.toFixed())],
      );
    for (let time = 0; time < 3; time++) await end(keyId, 'completed', tokens);
    assert.deepEqual(await percents(), []);
    await end(keyId, 'completed', tokens);
    assert.deepEqual(await percents(), [[80, 4n * spent]]);
    // The reservation of a fifth doesn't fit, for what is spent.
    await assert.rejects(accept(keyId), /has used up its budget/);
    await assert.rejects(accept(keyId), /has used up its budget/);
    const alerts = [
      [80, 4n * spent],
      [100, 4n * spent],
    ];
    assert.deepEqual(await percents(), alerts);
    const logged: Record<string, unknown>[] = [];
    const write = (line: string) => void logged.push(JSON.parse(line) as Record<string, unknown>);
    const dependencies = { database: db.database, log: pino({}, { write }) };
    await Promise.all([tellBudgetAlerts(dependencies), tellBudgetAlerts(dependencies)]);
    await tellBudgetAlerts(dependencies);
    assert.deepEqual(
      logged.map((line) => [line['key'], line['account'], line['percent'], line['level']]),
      alerts.map(([percent]) => [keyId, ACCOUNT, percent, 40]),
    );
  });

  it('alerts at 100 % when all of a budget is spent, and again once it was raised', async () => {
    const { reservedWei } = await accept(await addKey());
    const all = Number(BigInt(reservedWei) / TOKEN_WEI) + 1;
    const keyId = await addKey({ budgetWei: reservedWei });
    const percents = async () =>
      (await db.database.budgetAlert.findMany({ where: { keyId }, orderBy: { id: 'asc' } })).map(
        ({ percent }) => percent,
      );
    await end(keyId, 'completed', all, 2);
    assert.deepEqual(await percents(), [80, 100]);
    const raised = String(2n * BigInt(reservedWei));
    await db.database.apiKey.update({ where: { id: keyId }, data: { budgetWei: raised } });
    await end(keyId, 'completed', all);
    assert.deepEqual(await percents(), [80, 100, 80, 100]);
  });
});

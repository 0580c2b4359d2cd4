import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { receive } from '../../activities/receive.ts';
import { settle } from '../../activities/settle.ts';
import { creditAccount } from '../../prisma/credits.ts';
import { inTransaction } from '../../prisma/client.ts';
import type { FinalState } from '../../protocol/lifecycle.ts';
import type { IntakeCall } from '../../protocol/receive.ts';
import {
  ADMIN_KEY,
  OTHER_ACCOUNT,
  OTHER_KEY,
  startLoneGateway,
  type LoneGateway,
} from '../support/lone-gateway.ts';
import { ACCOUNT, API_KEY, balances, intakeCall, receiveKeys } from '../support/seeded.ts';

const admin = { key: ADMIN_KEY };

/** A row of usage, or the totals. */
interface Sums {
  readonly day?: string;
  readonly key?: string | null;
  readonly model?: string;
  readonly requests: number;
  readonly open: number;
  readonly completed: number;
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly reserved_wei: string;
  readonly charged_wei: string;
  readonly refunded_wei: string;
  readonly spent_wei: string;
}

describe('gateway: credits and usage', () => {
  let gateway: LoneGateway;
  beforeEach(async () => {
    gateway = await startLoneGateway();
  });
  afterEach(() => gateway.stop());

  const get = async (path: string, key = API_KEY) => {
    const response = await fetch(`${gateway.url}${path}`, {
      headers: { authorization: `Bearer ${key}` },
    });
    return { response, text: await response.text() };
  };
  const usage = async (query = '', key = API_KEY) =>
    JSON.parse((await get(`/v1/usage${query}`, key)).text) as {
      readonly data: readonly Sums[];
      readonly totals: Sums;
    };

  /** A request that has ended with so much used, or (null) is open. */
  async function request(state: FinalState | null, tokens = 3, changed: Partial<IntakeCall> = {}) {
    const { database } = gateway;
    const call = { ...(await intakeCall()), ...changed };
    const { accepted } = await receive(database, receiveKeys, call);
    const { requestId, accountId, price, reservedWei } = accepted;
    if (state === null) return { requestId, reservedWei, chargedWei: '0' };
    const usage = { promptTokens: tokens, completionTokens: 2 * tokens };
    const settled = await settle(database, {
      requestId,
      accountId,
      state,
      code: state === 'completed' ? null : 'execute.cancelled',
      usage,
      price,
      reservedWei,
      timeline: [],
    });
    return { requestId, reservedWei, chargedWei: settled.chargedWei };
  }

  it('tells what is available, reserved, spent and was deposited; the sum is right', async () => {
    const { chargedWei } = await request('completed');
    const { reservedWei } = await request(null);
    const { text } = await get('/v1/credits');
    const credits = JSON.parse(text) as Record<string, string>;
    assert.deepEqual(
      [credits['reserved_wei'], credits['spent_wei'], credits['deposited_wei']],
      [reservedWei, chargedWei, String(100n * 10n ** 18n)],
    );
    const { available_wei: available = '', reserved_wei: reserved = '' } = credits;
    assert.equal(
      BigInt(available) + BigInt(reserved) + BigInt(chargedWei),
      BigInt(credits['deposited_wei'] ?? 0),
    );
    const other = JSON.parse((await get('/v1/credits', OTHER_KEY)).text) as object;
    assert.deepEqual(other, {
      object: 'credits',
      account: OTHER_ACCOUNT,
      available_wei: '0',
      reserved_wei: '0',
      spent_wei: '0',
      deposited_wei: '0',
    });
  });

  it('credits an account once for each reference, whoever repeats it', async () => {
    const path = `/v1/accounts/${OTHER_ACCOUNT}/credits`;
    const body = { amount_wei: '1000000000000000000000000000001', reference: 'invoice-7' };
    const answers = await Promise.all(
      Array.from({ length: 6 }, () => gateway.call('POST', path, { ...admin, body })),
    );
    assert.deepEqual(answers.map(({ status }) => String(status)).toSorted(), [
      '200',
      '200',
      '200',
      '200',
      '200',
      '201',
    ]);
    const now = await balances(gateway.database);
    assert.equal(now[`${OTHER_ACCOUNT}:available`], BigInt(body.amount_wei));
    for (const [changed, at] of [
      [{ amount_wei: '2' }, path],
      [{}, `/v1/accounts/${ACCOUNT}/credits`],
    ] as const) {
      const other = { ...admin, body: { ...body, ...changed } };
      const { status, body: answer } = await gateway.call('POST', at, other);
      assert.deepEqual([status, answer.error?.param], [400, 'reference']);
    }
    assert.deepEqual(await balances(gateway.database), now);
  });

  it('credits addresses however they are written, and no account that isn’t there', async () => {
    const address = `0x${'ab'.repeat(20)}`;
    await gateway.database.account.create({ data: { id: address, name: '' } });
    const body = { amount_wei: '5', reference: 'r' };
    const at = (to: string) => `/v1/accounts/${to}/credits`;
    const upper = at(`0x${'AB'.repeat(20)}`);
    assert.equal((await gateway.call('POST', upper, { ...admin, body })).status, 201);
    assert.equal((await balances(gateway.database))[`${address}:available`], 5n);
    const nobody = await gateway.call('POST', at('0xnobody'), { ...admin, body });
    assert.deepEqual([nobody.status, nobody.code], [404, 'gateway.account_not_found']);
  });

  it('refuses what isn’t an amount, a reference or an admin', async () => {
    const path = `/v1/accounts/${ACCOUNT}/credits`;
    const before = await balances(gateway.database);
    for (const [param, body] of [
      ['amount_wei', { amount_wei: '0' }],
      ['amount_wei', { amount_wei: '-1' }],
      ['amount_wei', { amount_wei: '1.5' }],
      ['amount_wei', { amount_wei: '01' }],
      ['amount_wei', { amount_wei: 7 }],
      ['amount_wei', { amount_wei: '9'.repeat(41) }],
      ['reference', { amount_wei: '1', reference: '' }],
      ['reference', { amount_wei: '1', reference: 'a b' }],
      ['more', { amount_wei: '1', reference: 'r', more: 1 }],
    ] as const) {
      const { status, body: answer } = await gateway.call('POST', path, {
        ...admin,
        body: { reference: 'r', ...body },
      });
      assert.deepEqual([status, answer.error?.param], [400, param], JSON.stringify(body));
    }
    const body = { amount_wei: '1', reference: 'r' };
    const { status, code } = await gateway.call('POST', path, { body });
    assert.deepEqual([status, code], [403, 'gateway.admin_required']);
    assert.equal((await gateway.call('POST', path, { key: null, body })).status, 401);
    assert.deepEqual(await balances(gateway.database), before);
  });

  it('adds usage up by day, model and key, for its own account alone', async () => {
    const { database } = gateway;
    const { id: keyId } = await database.apiKey.findFirstOrThrow({ where: { accountId: ACCOUNT } });
    const one = await request('completed', 3, { keyId });
    const two = await request('completed', 5);
    await request('failed', 7);
    const open = await request(null);
    await database.request.update({
      where: { id: two.requestId },
      data: { acceptedAt: new Date('2026-01-02T23:59:59.999Z') },
    });
    const from = '?from=2026-01-01&to=2200-12-31';
    const { data, totals } = await usage(`${from}&group_by=day,model,key`);
    const today = new Date().toISOString().slice(0, 10);
    assert.deepEqual(
      data.map(({ day, model, key, requests, completed, completion_tokens: tokens }) => {
        return { day, model, key, requests, completed, tokens };
      }),
      [
        { day: '2026-01-02', model: 'instant', key: null, requests: 1, completed: 1, tokens: 10 },
        { day: today, model: 'instant', key: keyId, requests: 1, completed: 1, tokens: 6 },
        { day: today, model: 'instant', key: null, requests: 2, completed: 0, tokens: 0 },
      ],
    );
    const charged = String(BigInt(one.chargedWei) + BigInt(two.chargedWei));
    assert.deepEqual(totals, {
      requests: 4,
      open: 1,
      completed: 2,
      prompt_tokens: 8,
      completion_tokens: 16,
      reserved_wei: open.reservedWei,
      charged_wei: charged,
      refunded_wei: '0',
      spent_wei: charged,
    });
    const byModel = await usage(`${from}&group_by=model`);
    assert.deepEqual(byModel.data, [{ model: 'instant', ...totals }]);
    assert.deepEqual((await usage(from, OTHER_KEY)).data, []);
    assert.equal((await usage(from, OTHER_KEY)).totals.requests, 0);
    // Without a time it is the last 30 days; a time ends before `to`.
    assert.equal((await usage()).totals.requests, 3);
    assert.equal((await usage('?from=2026-01-02&to=2026-01-03')).totals.requests, 1);
    const before = '?from=2026-01-02T00:00:00Z&to=2026-01-02T23:59:59.999Z';
    assert.equal((await usage(before)).totals.requests, 0);
  });

  it('takes refunds off what was spent', async () => {
    const { requestId, chargedWei } = await request('completed');
    await gateway.database.request.update({
      where: { id: requestId },
      data: { refundedWei: chargedWei, refundCode: 'node.removed_wrong_results' },
    });
    const { totals } = await usage();
    assert.deepEqual(
      [totals.charged_wei, totals.refunded_wei, totals.spent_wei],
      [chargedWei, chargedWei, '0'],
    );
  });

  it('writes CSV with exact wei', async () => {
    const { database } = gateway;
    await inTransaction(database, (transaction) =>
      creditAccount(transaction, ACCOUNT, 10n ** 35n, 'much'),
    );
    const price = { promptPriceWei: '123456789012345678901234567', completionPriceWei: '1' };
    await database.price.create({
      data: {
        modelId: 'instant',
        version: 2,
        hardwareTier: 1,
        priority: 'standard',
        ...price,
      },
    });
    const { chargedWei } = await request('completed', 11);
    assert.equal(chargedWei, String(11n * 123456789012345678901234567n + 22n));
    const { response, text } = await get('/v1/usage?format=csv&group_by=day,model');
    assert.match(response.headers.get('content-type') ?? '', /^text\/csv;/);
    const today = new Date().toISOString().slice(0, 10);
    assert.equal(
      text,
      'day,model,requests,open,completed,prompt_tokens,completion_tokens,reserved_wei,' +
        'charged_wei,refunded_wei,spent_wei\r\n' +
        `${today},instant,1,0,1,11,22,0,${chargedWei},0,${chargedWei}\r\n`,
    );
  });

  it('refuses parameters that usage doesn’t have', async () => {
    await usage('?from=1970-01-01&to=2200-12-31T23:59:59.9Z');
    for (const [param, query] of [
      ['to', '?to=2026-13-01'],
      ['from', '?from=0000-01-01'],
      ['to', '?to=2201-01-01'],
      ['from', '?from=2026-02-01&to=2026-01-01'],
      ['group_by', '?group_by=day,day'],
      ['format', '?format=xml'],
      ['page', '?page=2'],
    ] as const) {
      const { status, body } = await gateway.call('GET', `/v1/usage${query}`);
      assert.deepEqual([status, body.error?.param], [400, param], query);
    }
    for (const path of ['/v1/usage', '/v1/credits', '/v1/alerts'])
      assert.equal((await gateway.call('GET', path, { key: null })).status, 401);
  });

  it('lists an account’s alerts, the latest first, by pages', async () => {
    const alert = (percent: number, accountId = ACCOUNT) => ({
      accountId,
      percent,
      spentWei: '8',
      budgetWei: String(10 + percent),
      periodBeganAt: new Date('2026-11-01T00:00:00Z'),
    });
    await gateway.database.budgetAlert.createMany({
      data: [alert(80), alert(100), alert(80, OTHER_ACCOUNT)].map((each, index) => ({
        ...each,
        keyId: `key_${index}`,
      })),
    });
    const first = await gateway.call('GET', '/v1/alerts?limit=1');
    assert.deepEqual([first.body.data[0]?.object, first.body.has_more], ['budget_alert', true]);
    const second = await gateway.call('GET', `/v1/alerts?after=${first.body.last_id}`);
    assert.deepEqual(
      [...first.body.data, ...second.body.data].map(({ key, percent }) => [key, percent]),
      [
        ['key_1', 100],
        ['key_0', 80],
      ],
    );
    const wrong = await gateway.call('GET', `/v1/alerts?after=${randomUUID()}`);
    assert.deepEqual([wrong.status, wrong.body.error?.param], [400, 'after']);
  });
});

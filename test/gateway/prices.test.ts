import assert from 'node:assert/strict';
import { receive } from '../../activities/receive.ts';
import { showStandardPrices } from '../../prisma/prices.ts';
import { ADMIN_KEY, startLoneGateway, type LoneGateway } from '../support/lone-gateway.ts';
import { intakeCall, receiveKeys } from '../support/seeded.ts';

const PATH = '/v1/models/instant/prices';
const BASE = { prompt_price_wei: '100', completion_price_wei: '333' };
const FACTORS = {
  tier_factors: ['1', '1.5', '2', '3', '10'],
  priority_factors: { standard: '1', expedited: '1.25', urgent: '2' },
};

interface Price {
  readonly model: string;
  readonly version: number;
  readonly hardware_tier: number;
  readonly priority: string;
  readonly prompt_price_wei: string;
  readonly completion_price_wei: string;
  readonly begins_at: string;
}

describe('gateway: prices', () => {
  let gateway: LoneGateway;
  beforeEach(async () => {
    gateway = await startLoneGateway();
  });
  afterEach(() => gateway.stop());

  const publish = (body: object, path = PATH) =>
    gateway.call('POST', path, { key: ADMIN_KEY, body });
  const list = async (query = '') => {
    const { body } = await gateway.call('GET', `/v1/prices${query}`, { key: null });
    return body.data as unknown as readonly Price[];
  };
  const inForce = (prices: readonly Price[], tier: number, priority: string) => {
    const price = prices.find((each) => each.hardware_tier === tier && each.priority === priority);
    return [price?.version, price?.prompt_price_wei, price?.completion_price_wei];
  };
  const accepted = async (hardwareTier = 1, priority: 'standard' | 'urgent' = 'standard') => {
    const call = await intakeCall({ hardwareTier, priority });
    return { call, ...(await receive(gateway.database, receiveKeys, call)).accepted };
  };

  it('shows everybody what is charged: more for higher tiers and priorities', async () => {
    const prices = await list();
    assert.equal(prices.length, 15);
    assert.deepEqual(inForce(prices, 1, 'standard'), [1, '100000000000', '400000000000']);
    assert.deepEqual(inForce(prices, 5, 'urgent'), [1, '800000000000', '3200000000000']);
    assert.deepEqual(await list('?model=instant'), prices);
    assert.deepEqual(await list('?model=other'), []);
  });

  it('publishes a base with factors: new requests get it, accepted ones keep theirs', async () => {
    const old = await accepted();
    const { status, body } = await publish({ version: 2, base: BASE, ...FACTORS });
    assert.deepEqual([status, body.data.length], [201, 15]);
    const prices = await list();
    assert.equal(prices.length, 15);
    assert.deepEqual(inForce(prices, 2, 'expedited'), [2, '188', '625']);
    const next = await accepted(2, 'urgent');
    assert.deepEqual(next.price, { promptWei: '300', completionWei: '999' });
    const { priceVersion } = await gateway.database.request.findUniqueOrThrow({
      where: { id: next.requestId },
    });
    assert.equal(priceVersion, 2);
    const again = await receive(gateway.database, receiveKeys, old.call);
    assert.equal(again.isJoined, true);
    assert.deepEqual(again.accepted.price, old.price);
    assert.equal(again.accepted.reservedWei, old.reservedWei);
    const { body: models } = await gateway.call('GET', '/v1/models');
    assert.deepEqual(
      models.data.map((model) => (model as unknown as Price).prompt_price_wei),
      ['100'],
    );
  });

  it('publishes each version once, however often and by how many at once', async () => {
    const body = { version: 2, base: BASE };
    const answers = await Promise.all(Array.from({ length: 5 }, () => publish(body)));
    assert.deepEqual(answers.map(({ status }) => String(status)).toSorted(), [
      '200',
      '200',
      '200',
      '200',
      '201',
    ]);
    await publish({ version: 3, base: BASE, ...FACTORS });
    const late = await publish(body);
    assert.deepEqual([late.status, late.body.data.length], [200, 15]);
    assert.equal(await gateway.database.price.count(), 45);
    for (const [version, said] of [
      [2, /was published with other prices; the next one is 4/],
      [5, /version: the next one is 4/],
    ] as const) {
      const { status, body: refused } = await publish({
        version,
        base: { ...BASE, prompt_price_wei: '1' },
      });
      assert.deepEqual([status, refused.error?.param], [400, 'version']);
      assert.match(refused.error?.message ?? '', said);
    }
    assert.equal(await gateway.database.price.count(), 45);
  });

  it('takes a whole matrix, and shows prices to come without charging them', async () => {
    const prices = [1, 2, 3, 4, 5].flatMap((hardware_tier) =>
      ['standard', 'expedited', 'urgent'].map((priority, index) => ({
        hardware_tier,
        priority,
        prompt_price_wei: String(hardware_tier),
        completion_price_wei: String(index),
      })),
    );
    const begins_at = new Date(Date.now() + 60_000).toISOString();
    assert.equal((await publish({ version: 2, prices, begins_at })).status, 201);
    assert.equal((await publish({ version: 2, prices, begins_at })).status, 200);
    const shown = await list();
    assert.deepEqual(
      shown.filter(({ version }) => version === 2).map((each) => each.begins_at),
      prices.map(() => begins_at),
    );
    assert.equal(shown.length, 30);
    assert.equal((await accepted()).price.promptWei, '100000000000');
    // Once its time has come, it is what is charged and shown.
    await gateway.database.$executeRaw`ALTER TABLE price DISABLE TRIGGER price_append_only`;
    await gateway.database.price.updateMany({
      where: { version: 2 },
      data: { beginsAt: new Date() },
    });
    assert.deepEqual((await accepted(4, 'urgent')).price, { promptWei: '4', completionWei: '2' });
    await showStandardPrices(gateway.database);
    const [model] = await gateway.database.model.findMany();
    assert.equal(model?.promptPriceWei.toFixed(), '1');
  });

  it('refuses what isn’t a price list', async () => {
    const some = [1, 2, 3, 4, 5].map((hardware_tier) => {
      return { hardware_tier, priority: 'standard', ...BASE };
    });
    for (const [param, body] of [
      ['base', { version: 2 }],
      ['base', { version: 2, base: BASE, prices: some }],
      ['base', { version: 2, prices: some, tier_factors: FACTORS.tier_factors }],
      ['prices', { version: 2, prices: some }],
      ['version', { base: BASE }],
      ['version', { version: 0, base: BASE }],
      ['base.prompt_price_wei', { version: 2, base: { ...BASE, prompt_price_wei: '-1' } }],
      ['base.prompt_price_wei', { version: 2, base: { ...BASE, prompt_price_wei: 1 } }],
      [
        'base.prompt_price_wei',
        { version: 2, base: { ...BASE, prompt_price_wei: '9'.repeat(31) } },
      ],
      ['tier_factors', { version: 2, base: BASE, tier_factors: ['1'] }],
      ['tier_factors.4', { version: 2, base: BASE, tier_factors: ['1', '1', '1', '1', '1e9'] }],
      ['begins_at', { version: 2, base: BASE, begins_at: 'soon' }],
      ['begins_at', { version: 2, base: BASE, begins_at: '9999-12-31T23:59:59-10:00' }],
      ['begins_at', { version: 2, base: BASE, begins_at: '2020-01-01T00:00:00Z' }],
      ['more', { version: 2, base: BASE, more: 1 }],
    ] as const) {
      const { status, body: answer } = await publish(body);
      assert.deepEqual([status, answer.error?.param], [400, param], JSON.stringify(body));
    }
    const unknown = await publish({ version: 1, base: BASE }, '/v1/models/nothing/prices');
    assert.deepEqual([unknown.status, unknown.code], [404, 'receive.unknown_model']);
    const body = { version: 2, base: BASE };
    const { status, code } = await gateway.call('POST', PATH, { body });
    assert.deepEqual([status, code], [403, 'gateway.admin_required']);
    assert.equal(await gateway.database.price.count(), 15);
  });
});

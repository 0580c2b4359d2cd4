import assert from 'node:assert/strict';
import { storeRequest } from '../support/drawn.ts';
import { startLoneGateway, type LoneGateway } from '../support/lone-gateway.ts';

interface View {
  readonly attempts: readonly {
    readonly dispatch: number;
    readonly node: string;
    readonly outcome: string | null;
    readonly is_check: boolean | null;
    readonly executed_at: string | null;
  }[];
  readonly cost: Readonly<Record<string, string | number | null>>;
}

const [FIRST, SECOND, CHECKER] = ['a', 'b', 'c'].map((digit) => `nd_${digit.repeat(64)}`) as [
  string,
  string,
  string,
];
const AT = new Date('2026-03-01T10:00:00.000Z');

describe('gateway/attempt-view', () => {
  let gateway: LoneGateway;
  before(async () => {
    gateway = await startLoneGateway();
  });
  after(() => gateway.stop());

  const viewOf = async (id: string) =>
    (await gateway.call('GET', `/v1/requests/${id}`)).body as unknown as View;

  async function withAttempts(finishedAt: Date | null): Promise<string> {
    const id = await storeRequest(gateway.database, { status: 'validated', finishedAt });
    const attempts = [
      { nodeId: FIRST, outcome: 'execute.node_lost', isCheck: false },
      { nodeId: SECOND, outcome: 'accepted', isCheck: false, finishedAt: AT },
      { nodeId: CHECKER, outcome: null, isCheck: true },
    ];
    for (const [index, attempt] of attempts.entries())
      await gateway.database.dispatch.create({
        data: { unitId: id, dispatch: index + 1, coordinator: 'http://c', ...attempt },
      });
    return id;
  }

  it('tells who was asked, and tells nobody of a check before the end', async () => {
    const running = (await viewOf(await withAttempts(null))).attempts;
    assert.deepEqual(
      running.map(({ node, outcome, is_check: isCheck }) => [node, outcome, isCheck]),
      [
        [FIRST, 'execute.node_lost', null],
        [SECOND, 'accepted', null],
      ],
    );
    assert.equal(running[1]?.executed_at, AT.toISOString());
    const ended = (await viewOf(await withAttempts(new Date()))).attempts;
    assert.deepEqual(
      ended.map(({ node, is_check: isCheck }) => [node, isCheck]),
      [
        [FIRST, false],
        [SECOND, false],
        [CHECKER, true],
      ],
    );
  });

  it('tells what the cost is made of, by the prices of then', async () => {
    const id = await storeRequest(gateway.database, {
      chargedWei: 70,
      refundedWei: 5,
      refundCode: 'validate.overruled',
    });
    const { cost: unpriced } = await viewOf(id);
    assert.deepEqual([unpriced['price_version'], unpriced['prompt_price_wei']], [null, null]);
    const price = await gateway.database.price.findFirstOrThrow({
      where: { modelId: 'instant', hardwareTier: 1, priority: 'standard' },
    });
    await gateway.database.request.update({
      where: { id },
      data: { priceVersion: price.version, promptTokens: 3, completionTokens: 4 },
    });
    assert.deepEqual((await viewOf(id)).cost, {
      reserved_wei: '100',
      charged_wei: '70',
      refunded_wei: '5',
      prompt_tokens: 3,
      completion_tokens: 4,
      price_version: price.version,
      prompt_price_wei: price.promptPriceWei.toFixed(),
      completion_price_wei: price.completionPriceWei.toFixed(),
    });
  });

  it('lists by model and by when requests were accepted', async () => {
    const { database } = gateway;
    await database.request.deleteMany();
    const other = { id: 'other', digest: 'sha256:0', contextTokens: 1 };
    await database.model.create({ data: { ...other, promptPriceWei: 1, completionPriceWei: 1 } });
    const ids: string[] = [];
    for (const [day, modelId] of [
      [1, 'instant'],
      [2, 'other'],
      [3, 'instant'],
    ] as const) {
      const id = await storeRequest(database);
      const acceptedAt = new Date(Date.UTC(2026, 2, day));
      await database.request.update({ where: { id }, data: { acceptedAt, modelId } });
      ids.push(id);
    }
    const [first, second, third] = ids;
    for (const [query, expected] of [
      ['model=instant', [third, first]],
      ['created_after=2026-03-02T00:00:00Z', [third, second]],
      ['created_before=2026-03-02T00:00:00Z', [first]],
      ['created_after=2026-03-01T02:00:00%2B01:00&created_before=2026-03-03T00:00:00Z', [second]],
      ['model=other&created_after=2026-03-03T00:00:00Z', []],
    ] as const) {
      const { body } = await gateway.call('GET', `/v1/requests?${query}`);
      const listed = body.data.map(({ id }) => id);
      assert.deepEqual(listed, expected, query);
    }
    for (const [name, value] of [
      ['created_after', 'yesterday'],
      ['created_before', '2026-03-01'],
      ['created_before', '0000-01-01T00:00:00Z'],
      ['created_after', '9999-12-31T23:59:59-10:00'],
      ['model', 'a b'],
    ]) {
      const { status, body } = await gateway.call('GET', `/v1/requests?${name}=${value}`);
      assert.deepEqual([status, body.error?.param], [400, name]);
    }
  });
});

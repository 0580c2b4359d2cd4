import assert from 'node:assert/strict';
import {
  POLICY,
  publishEpochs,
  storeDraw,
  storeRequest,
  storeVerification,
  testSecret,
} from '../support/drawn.ts';
import {
  ADMIN_KEY,
  OTHER_ACCOUNT,
  OTHER_KEY,
  startLoneGateway,
  type LoneAnswer,
  type LoneGateway,
} from '../support/lone-gateway.ts';

describe('gateway/sampling', () => {
  let gateway: LoneGateway;
  const mine: string[] = [];
  let others: string;
  before(async () => {
    gateway = await startLoneGateway();
    const { database } = gateway;
    await publishEpochs(database, 5);
    for (let index = 0; index < 5; index++) {
      const id = await storeRequest(database);
      mine.push(id);
      await storeDraw(database, id, 1, { ratePpm: 1_000_000 });
      if (index === 0) await storeVerification(database, id, 'agreed');
    }
    mine.sort();
    const other = await storeRequest(database, { accountId: OTHER_ACCOUNT });
    others = other;
    await storeDraw(database, other, 1, { ratePpm: 1_000_000 });
  });
  after(() => gateway.stop());

  const unitsOf = ({ body }: LoneAnswer) => body.data.map(({ unit_id: id }) => id);

  it('shows everybody what was committed to, latest first, page by page', async () => {
    const { status, body } = await gateway.call('GET', '/v1/sampling/epochs', { key: null });
    assert.equal(status, 200);
    assert.deepEqual(
      body.data.map((each) => [each.epoch, each.secret]),
      [
        [5, null],
        [4, null],
        [3, null],
        [2, testSecret(2)],
        [1, testSecret(1)],
      ],
    );
    assert.deepEqual(JSON.parse(body.data[0]?.policy ?? ''), POLICY);
    assert.match(body.data[0]?.secret_hash ?? '', /^[0-9a-f]{64}$/);
    assert.equal(body.has_more, false);
    const page = await gateway.call('GET', '/v1/sampling/epochs?before=4&limit=2', { key: null });
    const numbers = page.body.data.map(({ epoch }) => epoch);
    assert.deepEqual([numbers, page.body.has_more], [[3, 2], true]);
  });

  it('shows an account its own draws, and an admin all of them', async () => {
    const own = await gateway.call('GET', '/v1/sampling/draws?epoch=1');
    assert.deepEqual([own.body.scope, unitsOf(own), own.body.next], ['account', mine, null]);
    const other = await gateway.call('GET', '/v1/sampling/draws?epoch=1', { key: OTHER_KEY });
    assert.deepEqual(unitsOf(other), [others]);
    const all = await gateway.call('GET', '/v1/sampling/draws?epoch=1', { key: ADMIN_KEY });
    assert.equal(all.body.scope, 'all');
    assert.deepEqual(unitsOf(all), [...mine, others].toSorted());
    const agreed = own.body.data.filter((row) => row.outcome === 'agreed');
    assert.equal(agreed.length, 1);
    const [first] = own.body.data;
    assert.deepEqual(
      [first?.dispatch, first?.rate_ppm, first?.is_sampled, first?.workload_class],
      [1, 1_000_000, true, 'ai.inference'],
    );
  });

  it('pages through draws, each once', async () => {
    const seen: string[] = [];
    for (let after = '', more = true; more;) {
      const path = `/v1/sampling/draws?epoch=1&limit=2${after}`;
      const page = await gateway.call('GET', path, { key: ADMIN_KEY });
      assert.ok(page.body.data.length <= 2);
      seen.push(...unitsOf(page));
      more = page.body.has_more;
      after = `&after=${page.body.next}`;
    }
    assert.deepEqual(seen, [...mine, others].toSorted());
  });

  it('shows no draw before its secret is revealed, and says when that is', async () => {
    const early = await gateway.call('GET', '/v1/sampling/draws?epoch=3', { key: ADMIN_KEY });
    assert.deepEqual([early.status, early.code], [409, 'gateway.epoch_not_revealed']);
    assert.match(early.body.error?.message ?? '', /once epoch 5 has begun, which is at 20\d\d-/);
    const last = await gateway.call('GET', '/v1/sampling/draws?epoch=5');
    assert.match(last.body.error?.message ?? '', /once epoch 7 has begun\.$/);
    const none = await gateway.call('GET', '/v1/sampling/draws?epoch=6');
    assert.deepEqual([none.status, none.code], [404, 'gateway.epoch_not_found']);
  });

  it('needs a key for draws, and refuses what it does not know by name', async () => {
    const { status } = await gateway.call('GET', '/v1/sampling/draws?epoch=1', { key: null });
    assert.equal(status, 401);
    for (const [query, param] of [
      ['', 'epoch'],
      ['epoch=x', 'epoch'],
      ['epoch=0', 'epoch'],
      ['epoch=1&after=req_1', 'after'],
      ['epoch=1&limit=1001', 'limit'],
      ['epoch=1&account=x', 'account'],
    ] as const) {
      const { body, code } = await gateway.call('GET', `/v1/sampling/draws?${query}`);
      assert.deepEqual([code, body.error?.param], ['receive.malformed_request', param], query);
    }
  });
});

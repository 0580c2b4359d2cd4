import assert from 'node:assert/strict';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { ACCOUNT, balances } from '../support/seeded.ts';
import { startTestNode, type TestNode } from '../support/test-node.ts';

const IN_FLIGHT = 64;
const REQUESTS = 1_500;

/** More requests at once than there are slots: all wait their turn, none is lost or paid twice. */
describe('deep: flood', function () {
  this.timeout(600_000);
  let coordination: Coordination;
  const nodes: TestNode[] = [];

  before(async () => {
    coordination = await startCoordination();
    for (const tier of [1, 2, 3])
      nodes.push(
        await startTestNode({
          ...coordination,
          name: `flood-${tier}`,
          tier,
          backend: instantBackend({ slots: 4 }),
        }),
      );
  });
  after(async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    await coordination.stop();
  });

  it(`serves ${REQUESTS} requests, ${IN_FLIGHT} at a time on 12 slots`, async () => {
    let begun = 0;
    const ids = new Set<string>();
    const lane = async () => {
      while (begun < REQUESTS) {
        const text = `request ${++begun} of many`;
        const response = await coordination.chat({
          model: INSTANT_MODEL.id,
          messages: [{ role: 'user', content: text }],
          max_tokens: 16,
        });
        const body = (await response.json()) as {
          id: string;
          choices?: { message: { content: string } }[];
        };
        assert.equal(response.status, 200, JSON.stringify(body));
        assert.equal(body.choices?.[0]?.message.content, text, 'the answer to another request');
        ids.add(body.id);
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
    assert.equal(ids.size, REQUESTS);
    for (const id of ids) assert.equal((await coordination.ended(id)).status, 'completed');
  });

  it('leaves nothing behind: money, slots, queue, attempts', async () => {
    const { database } = coordination;
    const wei = await balances(database);
    assert.equal(wei[`${ACCOUNT}:reserved`], 0n);
    assert.equal(
      Object.values(wei).reduce((sum, amount) => sum + amount, 0n),
      0n,
    );
    const [left] = await database.$queryRaw<Record<string, number>[]>`
      SELECT (SELECT count(*)::int FROM slot WHERE unit_id IS NOT NULL) AS slots,
             (SELECT count(*)::int FROM waiting) AS waiting,
             (SELECT count(*)::int FROM request WHERE status <> 'completed') AS unfinished,
             (SELECT count(*)::int FROM dispatch WHERE outcome IS NULL) AS undecided`;
    assert.deepEqual(left, { slots: 0, waiting: 0, unfinished: 0, undecided: 0 });
    const [paid] = await database.$queryRaw<{ wei: string; transfers: number }[]>`
      SELECT sum(amount_wei)::text AS wei, count(*)::int AS transfers
      FROM ledger_transfer WHERE purpose = 'capture'`;
    assert.equal(BigInt(paid?.wei ?? 0), wei['usage']);
    assert.equal(paid?.transfers, REQUESTS, 'each is paid once');
  });
});

import assert from 'node:assert/strict';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { ACCOUNT, balances } from '../support/seeded.ts';
import { startTestNode, type TestNode } from '../support/test-node.ts';

const REQUESTS_EACH = 500;
const IN_FLIGHT_EACH = 16;
const SLOTS = 3;

/** Two coordinators, each with a gateway, over one database, one Temporal and the same nodes. */
describe('deep: two coordinators', function () {
  this.timeout(600_000);
  let coordination: Coordination;
  const nodes: TestNode[] = [];
  /** By node: how many units it runs now, and the most that it ever ran at once. */
  const running = new Map<string, { now: number; most: number }>();

  before(async () => {
    coordination = await startCoordination(2);
    for (const tier of [1, 2, 3]) {
      const name = `shared-${tier}`;
      const load = { now: 0, most: 0 };
      running.set(name, load);
      nodes.push(
        await startTestNode({
          ...coordination,
          name,
          tier,
          backend: instantBackend({ slots: SLOTS, pieceMs: 2 }),
          behaviour: async (honest) => {
            load.now += 1;
            load.most = Math.max(load.most, load.now);
            return honest().finally(() => void (load.now -= 1));
          },
        }),
      );
    }
  });
  after(async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    await coordination.stop();
  });

  it(`serves 2 × ${REQUESTS_EACH} requests on ${3 * SLOTS} slots, none of them twice`, async () => {
    const serve = async (gateway: number) => {
      let begun = 0;
      const lane = async () => {
        while (begun < REQUESTS_EACH) {
          const text = `request ${++begun} by gateway ${gateway}`;
          const body = {
            model: INSTANT_MODEL.id,
            messages: [{ role: 'user', content: text }],
            max_tokens: 16,
          };
          const response = await coordination.chat(body, undefined, gateway);
          const answer = (await response.json()) as {
            id: string;
            choices?: { message: { content: string } }[];
          };
          assert.equal(response.status, 200, JSON.stringify(answer));
          assert.equal(answer.choices?.[0]?.message.content, text);
        }
      };
      await Promise.all(Array.from({ length: IN_FLIGHT_EACH }, lane));
    };
    await Promise.all([serve(0), serve(1)]);
    for (const [name, { most }] of running)
      assert.ok(most > 0 && most <= SLOTS, `${name} ran ${most} at once`);
    assert.equal(
      nodes.reduce((sum, node) => sum + node.executed(), 0),
      2 * REQUESTS_EACH,
    );
  });

  it('leaves every slot free and every reservation ended', async () => {
    const { database } = coordination;
    const ids = await database.request.findMany({ select: { id: true } });
    assert.equal(ids.length, 2 * REQUESTS_EACH);
    for (const { id } of ids) assert.equal((await coordination.ended(id)).status, 'completed');
    assert.equal(await database.slot.count({ where: { unitId: { not: null } } }), 0);
    assert.equal(await database.waiting.count(), 0);
    assert.equal(await database.dispatch.count({ where: { outcome: { not: 'accepted' } } }), 0);
    const wei = await balances(database);
    assert.equal(wei[`${ACCOUNT}:reserved`], 0n);
    assert.equal(
      await database.ledgerTransfer.count({ where: { purpose: 'capture' } }),
      ids.length,
    );
  });
});

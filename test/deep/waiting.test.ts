import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { cpuSeconds } from '../../bench/processes.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { ACCOUNT, API_KEY, balances } from '../support/seeded.ts';
import { testServers } from '../support/servers.ts';
import { startTestNode, type TestNode } from '../support/test-node.ts';
import { until } from '../support/until.ts';

const UNITS = 2_000;
const LANES = 16;
const WINDOW_SECONDS = 15;
/** Of one core, more than an idle network uses. */
const CORE_SHARE_MAX = 0.1;

/** Units that no node can take for a long time cost nothing but their place. */
describe('deep: many waiting units', function () {
  this.timeout(900_000);
  let coordination: Coordination;
  let node: TestNode | undefined;
  before(async () => {
    coordination = await startCoordination();
  });
  after(async () => {
    await node?.stop();
    await coordination.stop();
  });

  /** Cores that coordinator, PostgreSQL and Temporal use together. */
  async function coresUsed(): Promise<number> {
    const { pids } = await testServers();
    const all = { ...pids, coordinator: coordination.coordinatorPid() };
    const used = async () =>
      Object.values(await cpuSeconds(all)).reduce((sum, seconds) => sum + seconds, 0);
    const before = await used();
    await sleep(WINDOW_SECONDS * 1_000);
    return ((await used()) - before) / WINDOW_SECONDS;
  }

  async function submit(): Promise<void> {
    const response = await fetch(`${coordination.gatewayUrl}/v1/requests`, {
      method: 'POST',
      headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        model: INSTANT_MODEL.id,
        messages: [{ role: 'user', content: 'one two three' }],
        max_tokens: 16,
        hardware_tier: 5,
        deadline_seconds: 3_600,
      }),
    });
    assert.equal(response.status, 202, await response.text());
  }

  it(`costs no CPU to hold ${UNITS} of them`, async () => {
    const idle = await coresUsed();
    let begun = 0;
    const lane = async () => {
      while (begun < UNITS) {
        begun += 1;
        await submit();
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    const { waiting } = coordination.database;
    await until(async () => (await waiting.count()) === UNITS, 'not all of them wait', 120);
    // What their arrival set off is over.
    await sleep(5_000);
    const held = await coresUsed();
    const shown = `${idle.toFixed(3)} cores idle, ${held.toFixed(3)} with ${UNITS} waiting`;
    console.log(`      ${shown}`);
    assert.ok(held - idle < CORE_SHARE_MAX, shown);
  });

  it('serves all of them once there is a node', async () => {
    node = await startTestNode({
      ...coordination,
      name: 'late',
      tier: 5,
      backend: instantBackend({ slots: 16 }),
    });
    const { database } = coordination;
    const open = () => database.request.count({ where: { finishedAt: null } });
    await until(async () => (await open()) === 0, 'not all of them ended', 600);
    assert.equal(await database.request.count({ where: { status: 'completed' } }), UNITS);
    assert.equal(await database.waiting.count(), 0);
    assert.equal(await database.slot.count({ where: { unitId: { not: null } } }), 0);
    assert.equal((await balances(database))[`${ACCOUNT}:reserved`], 0n);
    assert.equal(node.executed(), UNITS);
  });
});

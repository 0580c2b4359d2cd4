import assert from 'node:assert/strict';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { ACCOUNT, balances } from '../support/seeded.ts';
import { startTestNode, type TestNode } from '../support/test-node.ts';
import { until } from '../support/until.ts';

/** A cancellation that comes while a step writes, which a lock makes as long as the test needs. */
describe('workflows: a cancellation that meets a step', function () {
  this.timeout(120_000);
  let network: Coordination;
  let node: TestNode | undefined;
  before(async () => {
    network = await startCoordination();
  });
  afterEach(async () => {
    await node?.stop();
    await network.database.node.updateMany({ data: { status: 'removed' } });
  });
  after(() => network.stop());

  const ask = () =>
    network.chat({
      model: INSTANT_MODEL.id,
      messages: [{ role: 'user', content: 'one two' }],
      max_tokens: 16,
    });

  /** Nobody writes to a table until the test says so, and some backend waits for it. */
  async function whileLocked(table: 'slot' | 'failure_event', work: () => Promise<void>) {
    await network.database.$transaction(
      async (transaction) => {
        await transaction.$executeRawUnsafe(`LOCK TABLE ${table} IN EXCLUSIVE MODE`);
        await work();
      },
      { timeout: 60_000 },
    );
  }

  /** The text of the statement is what tells it from others that wait. */
  const isBlocked = (statement: string) => async () => {
    const [row] = await network.database.$queryRaw<{ blocked: number }[]>`
      SELECT count(*)::int AS blocked FROM pg_stat_activity
      WHERE wait_event_type = 'Lock' AND query LIKE ${`%${statement}%`}
        AND pid <> pg_backend_pid()`;
    return (row?.blocked ?? 0) > 0;
  };

  async function cancelRunning(): Promise<string> {
    const [running] = await network.database.request.findMany({ where: { finishedAt: null } });
    assert.ok(running);
    await network.client.workflow.getHandle(running.id).cancel();
    return running.id;
  }

  it('comes too late for a result that Validate is storing: it is delivered and paid', async () => {
    let execute: (() => void) | undefined;
    const mayReturn = new Promise<void>((resolve) => (execute = resolve));
    node = await startTestNode({
      ...network,
      name: 'validated',
      tier: 1,
      backend: instantBackend(),
      behaviour: async (honest) => {
        await mayReturn;
        return honest();
      },
    });
    const before = await balances(network.database);
    const answer = ask();
    await until(() => node?.executed() === 1, 'the node has it');
    let id = '';
    await whileLocked('slot', async () => {
      execute?.();
      await until(isBlocked('is_sampled, epoch FROM proof'), 'Validate is about to store');
      id = await cancelRunning();
    });
    assert.equal((await answer).status, 200);
    const view = await network.ended(id);
    assert.equal(view.status, 'completed');
    assert.ok(BigInt(view.charged_wei) > 0n);
    const after = await balances(network.database);
    assert.equal(after[`${ACCOUNT}:reserved`], before[`${ACCOUNT}:reserved`]);
    const paid = (before[`${ACCOUNT}:available`] ?? 0n) - (after[`${ACCOUNT}:available`] ?? 0n);
    assert.equal(paid, BigInt(view.charged_wei));
  });

  it('does not hide what a node did wrong', async () => {
    node = await startTestNode({
      ...network,
      name: 'faulty',
      tier: 1,
      backend: instantBackend(),
      behaviour: async (honest) => ({ ...(await honest()), poe: 'f'.repeat(64) }),
    });
    let id = '';
    const answer: Promise<{ status: number }>[] = [];
    await whileLocked('failure_event', async () => {
      answer.push(ask());
      await until(isBlocked('failure_event'), 'the failure is about to be written');
      id = await cancelRunning();
    });
    assert.equal((await answer[0])?.status, 499);
    assert.equal((await network.ended(id)).status, 'cancelled');
    const events = await network.database.failureEvent.findMany({ where: { unitId: id } });
    assert.ok(events.some(({ code }) => code === 'poe.hash_mismatch'));
    assert.equal(await network.database.nodeEvent.count({ where: { unitId: id } }), 1);
    assert.equal(await network.database.slot.count({ where: { unitId: id } }), 0);
  });
});

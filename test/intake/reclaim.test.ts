import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { schedule } from '../../activities/schedule.ts';
import { settleValidated } from '../../activities/settle.ts';
import { match } from '../../intake/match.ts';
import { reclaimAbsent, reclaimClosed } from '../../intake/reclaim.ts';
import { inTransaction } from '../../prisma/client.ts';
import { createRound } from '../../intake/sweeper.ts';
import type { AcceptedInference } from '../../protocol/receive.ts';
import { backgroundScene, type BackgroundScene } from '../support/background-scene.ts';
import { addPoolNode } from '../support/pool.ts';
import { balances } from '../support/seeded.ts';
import { until } from '../support/until.ts';

const COORDINATOR = 'http://127.0.0.1:1';

/** Runs that end without Settle: terminated from Temporal UI, or lost by Temporal. */
describe('intake/reclaim', () => {
  let scene: BackgroundScene;
  let database: BackgroundScene['database'];
  let dependencies: BackgroundScene['dependencies'];
  let initial: Record<string, bigint>;
  let accepted: AcceptedInference;
  beforeEach(async () => {
    scene = await backgroundScene();
    ({ database, dependencies, accepted, initial } = scene);
  });
  afterEach(() => scene.close());

  const ask = () => {
    const input = { unitId: accepted.requestId, dispatch: 1, usedNodes: [], request: accepted };
    return schedule(database, COORDINATOR, input);
  };
  const request = () => database.request.findUniqueOrThrow({ where: { id: accepted.requestId } });
  const takenSlots = () => database.slot.count({ where: { unitId: { not: null } } });

  /** Nobody works on its queue. */
  async function startRun() {
    const workflowId = accepted.requestId;
    return dependencies.client.workflow.start('inference', { workflowId, taskQueue: 'idle' });
  }

  /** Visibility follows a moment later. */
  async function reclaimed(): Promise<void> {
    await until(async () => {
      const ended = await reclaimClosed(dependencies);
      return ended.includes(accepted.requestId);
    }, 'the terminated run was not noticed');
  }

  async function assertFailedFree(code: string): Promise<void> {
    const { status, failureCode, chargedWei } = await request();
    assert.deepEqual([status, failureCode, chargedWei.toString()], ['failed', code, '0']);
    assert.deepEqual(await balances(database), initial);
    const events = await database.failureEvent.findMany();
    assert.deepEqual(
      events.map((event) => [event.unitId, event.dispatch, event.code, event.recovery]),
      [[accepted.requestId, 0, code, 'fail']],
    );
    assert.equal(await database.waiting.count(), 0);
  }

  it('ends a waiting request whose run was terminated: credit comes back, once', async () => {
    const run = await startRun();
    assert.equal((await ask()).kind, 'waiting');
    await run.terminate();
    await reclaimed();
    await assertFailedFree('coordinator.run_lost');
    assert.deepEqual(await reclaimClosed(dependencies), []);
    // Nothing is given to it any more.
    await addPoolNode(database);
    assert.deepEqual(await match(dependencies), { assigned: [], anyWaiting: false });
  });

  it('frees at once a slot that no node was told of', async () => {
    const run = await startRun();
    await ask();
    await addPoolNode(database);
    await match(dependencies);
    assert.equal(await takenSlots(), 1);
    await run.terminate();
    await reclaimed();
    await assertFailedFree('coordinator.run_lost');
    assert.equal(await takenSlots(), 0);
    assert.equal(await database.node.count({ where: { isFull: true } }), 0);
  });

  it('gives a slot back as soon as its node can be expected to have stopped', async () => {
    await addPoolNode(database);
    const run = await startRun();
    assert.equal((await ask()).kind, 'assigned');
    await run.terminate();
    await reclaimed();
    await assertFailedFree('coordinator.run_lost');
    const [slot] = await database.slot.findMany({ where: { unitId: accepted.requestId } });
    const leftMs = (slot?.leaseUntil?.getTime() ?? 0) - Date.now();
    assert.ok(leftMs > 0 && leftMs <= 16_000, `${leftMs} ms`);
  });

  it('settles what was validated before its run was lost: it was delivered', async () => {
    const run = await startRun();
    const dueWei = BigInt(accepted.reservedWei) - 1n;
    await database.request.update({
      where: { id: accepted.requestId },
      data: { status: 'validated', dueWei: dueWei.toString() },
    });
    await run.terminate();
    await reclaimed();
    const { status, chargedWei } = await request();
    assert.deepEqual([status, BigInt(chargedWei.toFixed())], ['completed', dueWei]);
    const after = await balances(database);
    assert.equal(after['usage'], dueWei);
    assert.equal(after['acct_demo:reserved'], 0n);
  });

  it('takes the vote that was just being counted when the run was lost', async () => {
    const { requestId: unitId } = accepted;
    await database.request.update({
      where: { id: unitId },
      data: { status: 'validated', dueWei: '1', proof: { dispatch: 1 } },
    });
    await database.proof.create({
      data: {
        unitId,
        dispatch: 1,
        nodeId: 'nd',
        poe: 'p',
        epoch: 1,
        ratePpm: 5,
        draw: 'd',
        isSampled: true,
      },
    });
    let settling: Promise<boolean> | undefined;
    await inTransaction(database, async (transaction) => {
      await transaction.$executeRaw`
        INSERT INTO verification (unit_id, outcome, winner, comparator)
        VALUES (${unitId}, 'overruled', 2, 'llm/1')`;
      settling = settleValidated(database, unitId);
      await sleep(300);
    });
    assert.equal(await settling, true);
    const { status, failureCode } = await request();
    assert.deepEqual([status, failureCode], ['invalidated', 'validate.overruled']);
    assert.deepEqual(await balances(database), initial);
  });

  it('ends a request that was accepted but never started', async () => {
    assert.deepEqual(await reclaimAbsent(dependencies), []);
    await database.request.updateMany({
      data: { acceptedAt: new Date(Date.now() - 3_600_000) },
    });
    assert.deepEqual(await reclaimAbsent(dependencies), [accepted.requestId]);
    await assertFailedFree('receive.not_started');
    assert.deepEqual(await reclaimAbsent(dependencies), []);
  });

  it('ends a request that Temporal has lost: overdue, or when a coordinator starts', async () => {
    await addPoolNode(database);
    assert.equal((await ask()).kind, 'assigned');
    await database.request.updateMany({ data: { acceptedAt: new Date(Date.now() - 60_000) } });
    assert.deepEqual(await reclaimAbsent(dependencies), []);
    assert.deepEqual(await reclaimAbsent(dependencies, true), [accepted.requestId]);
    await assertFailedFree('coordinator.run_lost');
  });

  it('leaves alone a request whose run goes on, however old', async () => {
    const run = await startRun();
    await database.request.updateMany({
      data: { acceptedAt: new Date(0), deadlineAt: new Date(1) },
    });
    assert.deepEqual(await reclaimAbsent(dependencies, true), []);
    assert.deepEqual(await reclaimClosed(dependencies), []);
    await run.terminate();
  });

  it('does a duty once in a while, and the others also after one that failed', async () => {
    const done: string[] = [];
    const duty = (name: string, everySeconds: number, fails = false) => ({
      name,
      everySeconds,
      run: async () => {
        done.push(name);
        if (fails) throw new Error('it fails');
      },
    });
    const duties = [duty('failing', 0, true), duty('often', 0), duty('seldom', 3_600)];
    const round = createRound(dependencies, duties);
    await round();
    await round();
    assert.deepEqual(done, ['failing', 'often', 'seldom', 'failing', 'often']);
  });
});

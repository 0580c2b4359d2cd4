import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { reserve, schedule, type ScheduleInput } from '../../activities/schedule.ts';
import { match, remind } from '../../intake/match.ts';
import { forgetFinished, startSweeper } from '../../intake/sweeper.ts';
import type { UnitId } from '../../protocol/ids.ts';
import type { AcceptedInference, Feature, Priority } from '../../protocol/receive.ts';
import { backgroundScene, type BackgroundScene } from '../support/background-scene.ts';
import { addPoolNode } from '../support/pool.ts';
import { until } from '../support/until.ts';

const COORDINATOR = 'http://127.0.0.1:1';

describe('intake/match', () => {
  let scene: BackgroundScene;
  let database: BackgroundScene['database'];
  let dependencies: BackgroundScene['dependencies'];
  let accepted: AcceptedInference;
  beforeEach(async () => {
    scene = await backgroundScene();
    ({ database, dependencies, accepted } = scene);
  });
  afterEach(() => scene.close());

  interface Wanted {
    readonly priority?: Priority;
    readonly complexity?: number;
    readonly tier?: number;
    readonly ageSeconds?: number;
    readonly features?: readonly Feature[];
  }

  function unit(wanted: Wanted = {}) {
    const { priority = 'standard', complexity = 20, tier = 1, ageSeconds = 0, features } = wanted;
    const { parameters, acceptedAtMs } = accepted;
    const input: ScheduleInput = {
      unitId: `req_${randomBytes(32).toString('hex')}` as UnitId,
      dispatch: 1,
      usedNodes: [],
      request: {
        ...accepted,
        complexity,
        acceptedAtMs: acceptedAtMs - ageSeconds * 1_000,
        parameters: {
          ...parameters,
          priority,
          hardwareTier: tier,
          ...(features ? { features } : {}),
        },
      },
    };
    return input;
  }

  const ask = (input: ScheduleInput) => schedule(database, COORDINATOR, input);

  /** Asks for a node when there is none. */
  async function waiting(wanted: Wanted = {}): Promise<ScheduleInput> {
    const input = unit(wanted);
    assert.equal((await ask(input)).kind, 'waiting');
    return input;
  }

  /** A workflow of the unit's id that only takes signals: nobody works on its queue. */
  async function sleeping({ unitId }: ScheduleInput) {
    const handle = await dependencies.client.workflow.start('inference', {
      workflowId: unitId,
      taskQueue: `idle-${unitId}`,
    });
    const signals = async () => {
      const { events } = await handle.fetchHistory();
      return events?.filter((event) => event.workflowExecutionSignaledEventAttributes).length;
    };
    return { signals, end: () => handle.terminate() };
  }

  const takenSlots = () => database.slot.count({ where: { unitId: { not: null } } });
  const rowOf = ({ unitId }: ScheduleInput) => database.waiting.findUnique({ where: { unitId } });

  it('gives free slots in the waiting order: most pressing first, then the largest', async () => {
    const small = await waiting({ complexity: 10 });
    const large = await waiting({ complexity: 900 });
    const urgent = await waiting({ priority: 'urgent', complexity: 1 });
    const demanding = await waiting({ priority: 'urgent', complexity: 5_000, tier: 5 });
    assert.deepEqual(await match(dependencies), { assigned: [], anyWaiting: true });
    await addPoolNode(database, { tier: 2, slots: 2 });
    const { assigned } = await match(dependencies);
    // One that fits nowhere holds nobody up.
    assert.deepEqual(assigned, [urgent.unitId, large.unitId]);
    assert.equal(await takenSlots(), 2);
    assert.deepEqual(await match(dependencies), { assigned: [], anyWaiting: true });
    await addPoolNode(database, { tier: 5, slots: 2 });
    assert.deepEqual((await match(dependencies)).assigned, [demanding.unitId, small.unitId]);
    assert.equal(await takenSlots(), 4);
  });

  it('gives a unit to nodes that can do what it asks for, and holds up nobody for it', async () => {
    await addPoolNode(database, { features: ['choices', 'completion'] });
    const picky = await waiting({ priority: 'urgent', features: ['choices', 'logprobs'] });
    assert.deepEqual((await rowOf(picky))?.features, ['choices', 'logprobs']);
    // The slot isn't kept for a unit that its node doesn't suit.
    assert.equal((await ask(unit())).kind, 'assigned');
    assert.deepEqual((await match(dependencies)).assigned, []);
    const able = await addPoolNode(database, { features: ['choices', 'logprobs'], tier: 2 });
    // Here it is: a plain unit leaves it to the one that waits.
    const plain = await waiting();
    assert.deepEqual((await match(dependencies)).assigned, [picky.unitId]);
    const slot = await database.slot.findFirst({ where: { machineId: able } });
    assert.deepEqual([slot?.unitId, (await rowOf(plain))?.assignedAt], [picky.unitId, null]);
  });

  it('gives a unit that asks for a feature the smallest node that has it', async () => {
    await addPoolNode(database, { tier: 1 });
    const able = await addPoolNode(database, { tier: 3, features: ['completion', 'logprobs'] });
    const found = await ask(unit({ features: ['completion'] }));
    assert.ok(found.kind === 'assigned' && found.node.nodeId === able, found.kind);
  });

  it('looks past any number of units that have had the free node', async () => {
    const node = await addPoolNode(database, { slots: 2, isOnline: false });
    for (let i = 0; i < 70; i++)
      await ask({ ...unit({ priority: 'urgent' }), dispatch: 2, usedNodes: [node] });
    const behind = await waiting();
    await database.node.update({ where: { id: node }, data: { isOnline: true } });
    assert.deepEqual((await match(dependencies)).assigned, [behind.unitId]);
  });

  it('goes on after a unit that can not be read', async () => {
    const [broken, behind] = [await waiting({ priority: 'urgent' }), await waiting()];
    await database.waiting.update({
      where: { unitId: broken.unitId },
      // The fence would hold others back in its favour, so it suits another node only.
      data: { input: { from: 'another version' }, tier: 2 },
    });
    await addPoolNode(database, { tier: 1 });
    await addPoolNode(database, { tier: 2 });
    assert.deepEqual((await match(dependencies)).assigned, [behind.unitId]);
  });

  it('gives the smallest node that fits, and none that the unit has had', async () => {
    const first = await waiting();
    const had = await addPoolNode(database, { tier: 1 });
    await database.node.update({ where: { id: had }, data: { isOnline: false } });
    const again: ScheduleInput = { ...unit(), dispatch: 2, usedNodes: [had] };
    assert.equal((await ask(again)).kind, 'waiting');
    await database.node.update({ where: { id: had }, data: { isOnline: true } });
    const [small, large] = [
      await addPoolNode(database, { tier: 2 }),
      await addPoolNode(database, { tier: 3 }),
    ];
    await match(dependencies);
    const nodes = await database.dispatch.findMany({ orderBy: { dispatch: 'asc' } });
    assert.deepEqual(
      nodes.map(({ unitId, nodeId }) => [unitId, nodeId]),
      [
        [first.unitId, had],
        [again.unitId, small],
      ],
    );
    assert.notEqual(nodes[1]?.nodeId, large);
  });

  it('tells the workflow, which then finds its reservation', async () => {
    const input = await waiting();
    const workflow = await sleeping(input);
    const node = await addPoolNode(database);
    await match(dependencies);
    assert.equal(await workflow.signals(), 1);
    assert.ok((await rowOf(input))?.signalledAt);
    const answer = await ask(input);
    assert.equal(answer.kind === 'assigned' && answer.node.nodeId, node);
    assert.equal(await rowOf(input), null);
    assert.deepEqual([await takenSlots(), await database.dispatch.count()], [1, 1]);
    // Told twice, it asks twice, and has one slot.
    assert.equal((await ask(input)).kind, 'assigned');
    assert.deepEqual([await takenSlots(), await database.dispatch.count()], [1, 1]);
    await workflow.end();
  });

  it('reminds a workflow that was not told: its coordinator crashed in between', async () => {
    const input = await waiting();
    const workflow = await sleeping(input);
    await addPoolNode(database);
    await reserve(database, COORDINATOR, input, true);
    assert.deepEqual(await remind(dependencies), []);
    await database.waiting.updateMany({ data: { assignedAt: new Date(0) } });
    assert.deepEqual(await remind(dependencies), [input.unitId]);
    // Not again at once: taking note of it is a matter of milliseconds, but not of none.
    assert.deepEqual(await remind(dependencies), []);
    assert.equal(await workflow.signals(), 1);
    assert.equal((await ask(input)).kind, 'assigned');
    assert.equal(await takenSlots(), 1);
    await workflow.end();
  });

  it('leaves a slot to the one that waits for it, whoever comes meanwhile', async () => {
    const waits = await waiting();
    await addPoolNode(database);
    const comes = unit({ complexity: 10 });
    assert.equal((await ask(comes)).kind, 'waiting');
    assert.deepEqual((await match(dependencies)).assigned, [waits.unitId]);
    // What stands before it in the order may pass.
    await addPoolNode(database);
    assert.equal((await ask(unit({ priority: 'urgent' }))).kind, 'assigned');
    assert.deepEqual((await match(dependencies)).assigned, []);
  });

  it('lets nobody who comes much later pass, whatever it is', async () => {
    const old = await waiting({ ageSeconds: 61, complexity: 1 });
    await addPoolNode(database);
    assert.equal((await ask(unit({ priority: 'urgent', complexity: 1_000 }))).kind, 'waiting');
    assert.deepEqual((await match(dependencies)).assigned, [old.unitId]);
  });

  it('leaves no node alone for a unit that it does not suit', async () => {
    await waiting({ tier: 5, ageSeconds: 100 });
    await addPoolNode(database, { tier: 4 });
    assert.equal((await ask(unit())).kind, 'assigned');
  });

  it('finds a slot that was freed while a unit began to wait', async () => {
    await addPoolNode(database);
    const first = unit();
    assert.equal((await ask(first)).kind, 'assigned');
    const second = unit();
    await database.$transaction(async (transaction) => {
      await transaction.$queryRaw`SELECT release_slot(${first.unitId}, 1)`;
      // It can't see the release yet, and the release couldn't see that it waits.
      assert.equal((await ask(second)).kind, 'waiting');
      assert.deepEqual((await match(dependencies)).assigned, []);
    });
    assert.deepEqual((await match(dependencies)).assigned, [second.unitId]);
  });

  it('needs no hint: a lost one costs a second', async () => {
    const input = await waiting();
    const sweeper = startSweeper(dependencies, []);
    try {
      await addPoolNode(database);
      await until(async () => Boolean((await rowOf(input))?.assignedAt), 'nothing was assigned');
    } finally {
      await sweeper.stop();
    }
  });

  it('takes a reservation that was made while the unit was put among those that wait', async () => {
    const input = await waiting();
    await addPoolNode(database);
    assert.ok(await reserve(database, COORDINATOR, input, true));
    await database.waiting.updateMany({ data: { assignedAt: null } });
    await addPoolNode(database);
    assert.deepEqual((await match(dependencies)).assigned, [input.unitId]);
    assert.deepEqual([await takenSlots(), await database.dispatch.count()], [1, 1]);
  });

  it('gives a unit another node when the lease of its reservation was lost', async () => {
    const input = await waiting();
    const first = await addPoolNode(database);
    await match(dependencies);
    const thief = unit();
    await database.slot.updateMany({ data: { unitId: thief.unitId } });
    assert.equal((await ask(input)).kind, 'waiting');
    const second = await addPoolNode(database);
    await match(dependencies);
    const answer = await ask(input);
    assert.equal(answer.kind === 'assigned' && answer.node.nodeId, second);
    const held = await database.slot.findMany({ where: { machineId: first } });
    assert.equal(held[0]?.unitId, thief.unitId);
    assert.equal(await database.dispatch.count(), 1);
  });

  it('wakes a unit that an earlier version has held', async () => {
    const input = await waiting();
    const workflow = await sleeping(input);
    await database.$executeRaw`UPDATE waiting SET input = NULL`;
    await match(dependencies);
    assert.equal(await workflow.signals(), 1);
    assert.equal((await ask(input)).kind, 'waiting');
    assert.ok((await rowOf(input))?.input);
    await workflow.end();
  });

  it('forgets a unit that was put among those that wait while its request ended', async () => {
    const gone = { ...unit(), unitId: accepted.requestId };
    assert.equal((await ask(gone)).kind, 'waiting');
    await database.request.updateMany({ data: { status: 'cancelled', finishedAt: new Date() } });
    await addPoolNode(database);
    assert.deepEqual((await match(dependencies)).assigned, []);
    await forgetFinished(dependencies);
    assert.equal(await database.waiting.count(), 0);
    assert.equal((await ask(unit())).kind, 'assigned');
  });
});

import assert from 'node:assert/strict';
import { abandon } from '../../activities/receive.ts';
import { reportFailure } from '../../activities/report-failure.ts';
import { schedule, type ScheduleInput } from '../../activities/schedule.ts';
import { match } from '../../intake/match.ts';
import type { AcceptedInference } from '../../protocol/receive.ts';
import { backgroundScene, type BackgroundScene } from '../support/background-scene.ts';
import { addPoolNode } from '../support/pool.ts';
import { until } from '../support/until.ts';

describe('intake/match: what happens meanwhile', () => {
  let scene: BackgroundScene;
  let database: BackgroundScene['database'];
  let dependencies: BackgroundScene['dependencies'];
  let accepted: AcceptedInference;
  let first: ScheduleInput;
  beforeEach(async () => {
    scene = await backgroundScene();
    ({ database, dependencies, accepted } = scene);
    first = { unitId: accepted.requestId, dispatch: 1, usedNodes: [], request: accepted };
  });
  afterEach(() => scene.close());

  const ask = (input: ScheduleInput) => schedule(database, 'http://127.0.0.1:1', input);
  const rowOf = ({ unitId }: ScheduleInput) => database.waiting.findUnique({ where: { unitId } });

  it('keeps an assignment that is made while its unit asks again', async () => {
    const input = first;
    assert.equal((await ask(input)).kind, 'waiting');
    let asked: ReturnType<typeof ask> | undefined;
    await database.$transaction(async (transaction) => {
      await transaction.$executeRaw`UPDATE waiting SET assigned_at = now()`;
      asked = ask(input);
      await until(async () => {
        const [row] = await database.$queryRaw<{ blocked: number }[]>`
          SELECT count(*)::int AS blocked FROM pg_locks WHERE NOT granted`;
        return row?.blocked === 1;
      }, 'it did not ask');
    });
    assert.equal((await asked)?.kind, 'waiting');
    assert.ok((await rowOf(input))?.assignedAt);
    // Asked after it, and without the reservation, it waits again.
    assert.equal((await ask(input)).kind, 'waiting');
    assert.equal((await rowOf(input))?.assignedAt, null);
  });

  it('waits, and does not spin, when a reset run asks for an attempt that is decided', async () => {
    const node = await addPoolNode(database);
    assert.equal((await ask(first)).kind, 'assigned');
    const code = 'node.deadline_exceeded';
    await reportFailure(database, { ...first, nodeId: node, code });
    assert.equal((await ask(first)).kind, 'waiting');
  });

  it('frees what no node was told of, and leaves the earlier attempt its slot', async () => {
    const node = await addPoolNode(database);
    assert.equal((await ask(first)).kind, 'assigned');
    const code = 'node.deadline_exceeded';
    await reportFailure(database, { ...first, nodeId: node, code });
    const second: ScheduleInput = { ...first, dispatch: 2, usedNodes: [node] };
    assert.equal((await ask(second)).kind, 'waiting');
    await addPoolNode(database);
    assert.deepEqual((await match(dependencies)).assigned, [first.unitId]);
    await abandon(database, accepted.requestId, {
      status: 'cancelled',
      code: 'execute.cancelled',
      from: ['running'],
    });
    const held = await database.slot.findMany({ where: { unitId: { not: null } } });
    assert.deepEqual(
      held.map(({ machineId, dispatch }) => [machineId, dispatch]),
      [[node, 1]],
    );
  });
});

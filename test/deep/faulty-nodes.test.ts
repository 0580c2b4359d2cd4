import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { FAULT_CASES, ONLINE, type FaultCase } from '../support/fault-cases.ts';
import { auditSlots, FaultScene, PROMPT, type SlotRelease } from '../support/fault-scene.ts';
import type { FaultName } from '../support/faulty-node.ts';
import { startInLanes } from '../support/lanes.ts';
import { balances } from '../support/seeded.ts';
import { until } from '../support/until.ts';

/** As many as two cores can run without being the fault themselves. */
const AT_ONCE = 4;

/** What must have been written down of each request. */
function expected({ code, isFlagged }: FaultCase) {
  return {
    state: 'completed',
    error: null,
    text: PROMPT,
    servedBy: code ? 'healthy' : 'faulty 1',
    attempts: code
      ? [
          ['faulty 1', code],
          ['healthy', 'accepted'],
        ]
      : [['faulty 1', 'accepted']],
    events: code ? [[code, 1, 'faulty 1', 'redispatch']] : [],
    flags: isFlagged ? [[code, 1, 'faulty 1']] : [],
    charges: 1,
    stillReservedWei: 0n,
  };
}

async function check(scene: FaultScene, testCase: FaultCase): Promise<void> {
  const { deadlineSeconds, requests = 1, ends, meanwhile, returnsLater } = testCase;
  const asked = Array.from({ length: requests }, () => scene.ask(deadlineSeconds));
  if (meanwhile) {
    await scene.untilSaid('took');
    await meanwhile(scene);
  }
  const ids = await Promise.all(asked);
  for (const id of ids) assert.deepEqual(await scene.outcome(id), expected(testCase));
  if (returnsLater) await scene.untilSaid('ended', requests);
  const again: SlotRelease[] = testCase.code ? ['at once'] : [];
  for (const id of ids) {
    assert.deepEqual(await scene.slotReleases(id), [testCase.slot, ...again]);
    const [end = '', ...more] = await scene.executions(id);
    assert.ok((ends as readonly string[]).includes(end), end);
    assert.deepEqual(more, testCase.code ? ['COMPLETED'] : []);
    // Nothing that came afterwards has changed it.
    assert.deepEqual(await scene.outcome(id), expected(testCase));
  }
  const { status, uptime } = testCase;
  const [{ nodeId }] = scene.faulty as [(typeof scene.faulty)[number]];
  const isAsExpected = async () =>
    isDeepStrictEqual(await scene.standing(nodeId), { status, uptime });
  // Whatever it is when that takes too long is told by the comparison.
  await until(isAsExpected, 'its status and uptime', 10).catch(() => undefined);
  assert.deepEqual(await scene.standing(nodeId), { status, uptime });
  const healthy = await scene.standing(scene.healthy.keys.nodeId);
  assert.deepEqual(healthy, { status: 'active', uptime: ONLINE });
}

/** Real worker processes, each faulty in its own way, and one node that is well. */
describe('workflows: faulty nodes', function () {
  this.timeout(240_000);
  let network: Coordination;
  let checked: ReadonlyMap<string, Promise<void>> = new Map();

  before(async () => {
    network = await startCoordination();
    await auditSlots(network.database);
    const checks = new Map(
      FAULT_CASES.map((testCase) => [
        testCase.fault as string,
        () => withScene(testCase.fault, [testCase.fault], (scene) => check(scene, testCase)),
      ]),
    );
    checks.set('second miss', () => withScene('second miss', ['slow', 'slow'], checkSecondMiss));
    checked = startInLanes(checks, AT_ONCE);
  });
  after(async () => {
    await Promise.allSettled(checked.values());
    await network.stop();
  });

  async function withScene(
    name: string,
    faults: readonly FaultName[],
    work: (scene: FaultScene) => Promise<void>,
  ): Promise<void> {
    const scene = await FaultScene.open(network, name, faults);
    try {
      await work(scene);
    } finally {
      await scene.close();
    }
  }

  /** Spec §3.4: re-dispatched once. */
  async function checkSecondMiss(scene: FaultScene): Promise<void> {
    const code = 'node.deadline_exceeded';
    const id = await scene.ask(2);
    assert.deepEqual(await scene.outcome(id), {
      state: 'failed',
      error: code,
      text: null,
      servedBy: null,
      attempts: [
        ['faulty 1', code],
        ['faulty 2', code],
      ],
      events: [
        [code, 1, 'faulty 1', 'redispatch'],
        [code, 2, 'faulty 2', 'redispatch'],
      ],
      flags: [
        [code, 1, 'faulty 1'],
        [code, 2, 'faulty 2'],
      ],
      charges: 0,
      stillReservedWei: 0n,
    });
    assert.equal(scene.healthy.executed(), 0);
    assert.deepEqual(await scene.slotReleases(id), ['acknowledged', 'acknowledged']);
    for (const { nodeId } of scene.faulty)
      assert.deepEqual(await scene.standing(nodeId), { status: 'active', uptime: ONLINE });
  }

  for (const { fault, code } of FAULT_CASES)
    it(`${fault}: ${code ?? 'serves'}${code ? ', and another node serves' : ''}`, () =>
      checked.get(fault));

  it('a second miss ends the request, free of charge, though a third node is there', () =>
    checked.get('second miss'));

  it('leaves the ledger balanced, and every slot free, which came back exactly once', async () => {
    await Promise.allSettled(checked.values());
    const { database } = network;
    const ledger = await balances(database);
    assert.equal(
      Object.values(ledger).reduce((sum, wei) => sum + wei, 0n),
      0n,
    );
    assert.equal(ledger['acct_demo:reserved'], 0n);
    assert.equal(await database.slot.count({ where: { unitId: { not: null } } }), 0);
    const releases = await database.$queryRaw<{ times: number }[]>`
      SELECT count(released_at)::int AS times FROM dispatch
        LEFT JOIN slot_release USING (unit_id, dispatch)
      GROUP BY unit_id, dispatch`;
    assert.ok(releases.length > 2 * FAULT_CASES.length);
    assert.deepEqual(new Set(releases.map(({ times }) => times)), new Set([1]));
  });
});

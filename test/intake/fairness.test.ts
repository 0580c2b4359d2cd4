import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { schedule, type ScheduleInput } from '../../activities/schedule.ts';
import { match } from '../../intake/match.ts';
import type { UnitId } from '../../protocol/ids.ts';
import type { Priority } from '../../protocol/receive.ts';
import { backgroundScene, type BackgroundScene } from '../support/background-scene.ts';
import { addPoolNode } from '../support/pool.ts';

const COORDINATOR = 'http://127.0.0.1:1';
const BURST = 60;

interface Wanted {
  readonly account: string;
  readonly complexity?: number;
  readonly priority?: Priority;
  readonly dispatch?: number;
}

describe('intake/match between accounts', () => {
  let scene: BackgroundScene;
  let began: number;
  const accountOf = new Map<UnitId, string>();
  beforeEach(async () => {
    scene = await backgroundScene();
    began = scene.accepted.acceptedAtMs;
    accountOf.clear();
  });
  afterEach(() => scene.close());

  /** A unit that comes so many milliseconds after the scene began. */
  function unit(
    { account, complexity = 2_048, priority = 'standard', dispatch = 1 }: Wanted,
    afterMs = 0,
  ): ScheduleInput {
    const { accepted } = scene;
    const unitId = `req_${randomBytes(32).toString('hex')}` as UnitId;
    accountOf.set(unitId, account);
    return {
      unitId,
      dispatch,
      usedNodes: [],
      request: {
        ...accepted,
        accountId: account,
        complexity,
        acceptedAtMs: began + afterMs,
        parameters: { ...accepted.parameters, priority },
      },
    };
  }

  const ask = (input: ScheduleInput) => schedule(scene.database, COORDINATOR, input);

  async function waiting(wanted: Wanted, afterMs = 0): Promise<UnitId> {
    const input = unit(wanted, afterMs);
    assert.equal((await ask(input)).kind, 'waiting');
    return input.unitId;
  }

  async function burst(account: string, count: number, afterMs = 0): Promise<void> {
    for (let number = 0; number < count; number += 1) await waiting({ account }, afterMs);
  }

  /** Whose units get the next slots, in their order. */
  async function served(slots: number): Promise<readonly (string | undefined)[]> {
    await addPoolNode(scene.database, { slots });
    const units: UnitId[] = [];
    while (units.length < slots) {
      const { assigned } = await match(scene.dependencies);
      assert.notEqual(assigned.length, 0, 'slots are free, and nobody gets one');
      units.push(...assigned);
    }
    return units.map((unitId) => accountOf.get(unitId));
  }

  it('lets one request through before the rest of a burst that came earlier', async () => {
    await burst('busy', BURST);
    await waiting({ account: 'calm' }, 2_000);
    const order = await served(5);
    assert.ok(order.includes('calm'), order.join(' '));
  });

  it('gives two bursts the same share of the slots, whichever came first', async () => {
    await burst('first', BURST);
    await burst('second', BURST);
    const order = await served(20);
    const share = order.filter((account) => account === 'second').length;
    assert.ok(share >= 9 && share <= 11, order.join(' '));
  });

  it('gives the same share of tokens: small requests get more slots', async () => {
    for (let number = 0; number < BURST; number += 1)
      await waiting({ account: 'small', complexity: 1_024 });
    await burst('large', BURST);
    const order = await served(30);
    const share = order.filter((account) => account === 'small').length;
    assert.ok(share > 16 && share < 26, order.join(' '));
  });

  it('leaves nothing idle: who waits alone gets all there is', async () => {
    await burst('busy', BURST);
    assert.deepEqual(new Set(await served(30)), new Set(['busy']));
  });

  it('keeps the priorities of one account apart', async () => {
    await burst('busy', BURST);
    await waiting({ account: 'busy', priority: 'urgent' }, 3_000);
    const order = await scene.database.waiting.findMany({ orderBy: { placeMs: 'asc' } });
    assert.equal(order[0]?.priority, 1);
  });

  it('does not send a unit to the end of its account when it is dispatched again', async () => {
    await burst('busy', BURST);
    const again = await waiting({ account: 'busy', dispatch: 2 });
    const before = await scene.database.waiting.count({
      where: { placeMs: { lt: await placeOf(again) } },
    });
    assert.ok(before <= 1, `${before} come before it`);
  });

  it('lets nobody slip in by arriving when a slot is free', async () => {
    await burst('busy', 30);
    const calm = await waiting({ account: 'calm' }, 1_000);
    await addPoolNode(scene.database, { slots: 1 });
    // By its acceptance alone this one would come before the other account's.
    const late = await ask(unit({ account: 'busy' }));
    assert.equal(late.kind, 'waiting');
    const { assigned } = await match(scene.dependencies);
    assert.equal(assigned.length, 1);
    assert.ok((await placeOf(calm)) < (await lastPlaceOf('busy')));
  });

  it('keeps the place of one that asks again', async () => {
    await waiting({ account: 'busy' });
    const input = unit({ account: 'busy' });
    await ask(input);
    const first = await placeOf(input.unitId);
    await burst('busy', 3);
    await ask(input);
    assert.equal(await placeOf(input.unitId), first);
  });

  async function placeOf(unitId: UnitId): Promise<number> {
    return (await scene.database.waiting.findUniqueOrThrow({ where: { unitId } })).placeMs;
  }

  async function lastPlaceOf(accountId: string): Promise<number> {
    const { _max } = await scene.database.waiting.aggregate({
      where: { accountId },
      _max: { placeMs: true },
    });
    return _max.placeMs ?? 0;
  }
});

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { abandon, receive } from '../../activities/receive.ts';
import { reportFailure } from '../../activities/report-failure.ts';
import { schedule, type ScheduleInput } from '../../activities/schedule.ts';
import { settle, type SettleInput } from '../../activities/settle.ts';
import type { ErrorCode } from '../../protocol/errors.ts';
import type { NodeId, UnitId } from '../../protocol/ids.ts';
import type { AcceptedInference } from '../../protocol/receive.ts';
import { repairHints } from '../../intake/sweeper.ts';
import { addPoolNode } from '../support/pool.ts';
import { balances, intakeCall, receiveKeys, seedInstant } from '../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const COORDINATOR = 'http://127.0.0.1:1';

/** Each activity may run more than once: a lost workflow task runs its local activities again. */
describe('activities: run twice, count once', () => {
  let db: TestDatabase;
  let accepted: AcceptedInference;
  beforeEach(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
    ({ accepted } = await receive(db.database, receiveKeys, await intakeCall()));
  });
  afterEach(() => db.close());

  const addNode = (tier: number, slots = 1) => addPoolNode(db.database, { tier, slots });

  const input = (changed: Partial<ScheduleInput> = {}): ScheduleInput => ({
    unitId: accepted.requestId,
    dispatch: 1,
    usedNodes: [],
    request: accepted,
    ...changed,
  });

  const completed = (changed: Partial<SettleInput> = {}): SettleInput => ({
    requestId: accepted.requestId,
    accountId: accepted.accountId,
    state: 'completed',
    code: null,
    usage: { promptTokens: 10, completionTokens: 4 },
    price: accepted.price,
    reservedWei: accepted.reservedWei,
    timeline: [],
    ...changed,
  });

  const takenSlots = () => db.database.slot.count({ where: { unitId: { not: null } } });

  async function assigned(changed: Partial<ScheduleInput> = {}): Promise<NodeId> {
    const result = await schedule(db.database, COORDINATOR, input(changed));
    assert.equal(result.kind, 'assigned');
    return result.kind === 'assigned' ? result.node.nodeId : assert.fail();
  }

  it('schedule reserves one slot, on the smallest node, and finds it again', async () => {
    await addNode(3);
    const smallest = await addNode(1);
    await addNode(2);
    assert.equal(await assigned(), smallest);
    assert.equal(await assigned(), smallest);
    assert.equal(await takenSlots(), 1);
    assert.equal(await db.database.dispatch.count(), 1);
    // The next attempt goes elsewhere.
    assert.notEqual(await assigned({ dispatch: 2, usedNodes: [smallest] }), smallest);
  });

  it('schedule never gives a slot twice, however many ask at once', async () => {
    await addNode(1, 3);
    await addNode(2, 4);
    const units = Array.from({ length: 20 }, () => ({
      unitId: `req_${randomBytes(32).toString('hex')}` as UnitId,
    }));
    const ask = (unit: { unitId: UnitId }) => schedule(db.database, COORDINATOR, input(unit));
    await Promise.all(units.map(ask));
    // A unit may have met locked rows only; it waits, and gets what is left when it asks again.
    for (const unit of units) await ask(unit);
    assert.equal(await takenSlots(), 7);
    const dispatches = await db.database.dispatch.findMany();
    assert.equal(new Set(dispatches.map(({ unitId }) => unitId)).size, 7);
    assert.equal(await db.database.waiting.count(), 13);
  });

  it('schedule passes over nodes offline, removed, too small, of another model', async () => {
    const offline = await addNode(1);
    const removed = await addNode(1);
    const foreign = await addNode(1);
    const small = await addNode(1);
    const update = (id: string, data: object) => db.database.node.update({ where: { id }, data });
    await update(offline, { lastSeenAt: new Date(Date.now() - 60_000) });
    await update(removed, { status: 'removed' });
    await update(foreign, { modelDigest: `sha256:${'2'.repeat(64)}` });
    const request = { ...accepted, parameters: { ...accepted.parameters, hardwareTier: 2 } };
    const result = await schedule(db.database, COORDINATOR, input({ request }));
    assert.equal(result.kind, 'waiting');
    assert.equal(await assigned(), small);
    assert.equal(await db.database.waiting.count(), 0);
  });

  it('schedule says that the deadline elapsed, and leaves nothing waiting', async () => {
    assert.equal((await schedule(db.database, COORDINATOR, input())).kind, 'waiting');
    const request = { ...accepted, deadlineAtMs: Date.now() - 1 };
    const late = await schedule(db.database, COORDINATOR, input({ request }));
    assert.equal(late.kind, 'elapsed');
    assert.equal(await db.database.waiting.count(), 0);
  });

  it('schedule takes a slot back whose lease has run out', async () => {
    const node = await addNode(1);
    await assigned();
    await db.database.slot.updateMany({ data: { leaseUntil: new Date(0) } });
    // What the sweeper sees within a second.
    await repairHints(db);
    const unitId = `req_${'a'.repeat(64)}` as UnitId;
    assert.equal(await assigned({ unitId }), node);
  });

  const failures: [ErrorCode, { readonly flags: number; readonly slotTaken: number }][] = [
    ['poe.hash_mismatch', { flags: 1, slotTaken: 0 }],
    ['node.deadline_exceeded', { flags: 1, slotTaken: 1 }],
    ['execute.node_lost', { flags: 0, slotTaken: 1 }],
    ['execute.backend_failed', { flags: 0, slotTaken: 0 }],
  ];
  for (const [code, { flags, slotTaken }] of failures)
    it(`reportFailure writes ${code} once: event, flag, slot`, async () => {
      const nodeId = await addNode(1);
      await assigned();
      const report = { unitId: accepted.requestId, dispatch: 1, nodeId, code };
      for (const _ of [1, 2]) await reportFailure(db.database, report);
      assert.equal(await db.database.failureEvent.count(), 1);
      assert.equal(await db.database.nodeEvent.count(), flags);
      assert.equal(await takenSlots(), slotTaken);
      assert.equal((await db.database.dispatch.findFirst())?.outcome, code);
    });

  it('schedule gives nothing to a request that has ended, and holds nothing', async () => {
    assert.equal(await abandon(db.database, accepted.requestId), true);
    const over = await schedule(db.database, COORDINATOR, input());
    assert.equal(over.kind, 'elapsed');
    await addNode(1);
    assert.equal((await schedule(db.database, COORDINATOR, input())).kind, 'elapsed');
    assert.equal(await takenSlots(), 0);
    assert.equal(await db.database.waiting.count(), 0);
    assert.equal(await db.database.dispatch.count(), 0);
  });

  it('schedule leaves nothing waiting of an attempt that was reserved meanwhile', async () => {
    await schedule(db.database, COORDINATOR, input());
    assert.equal(await db.database.waiting.count(), 1);
    const node = await addNode(1);
    const runs = Array.from({ length: 6 }, () => schedule(db.database, COORDINATOR, input()));
    const ended = await Promise.allSettled(runs);
    // The loser of a race for the same attempt fails on its key, and Temporal runs it again.
    assert.ok(ended.some(({ status }) => status === 'fulfilled'));
    assert.equal(await assigned(), node);
    assert.equal(await takenSlots(), 1);
    assert.equal(await db.database.waiting.count(), 0);
  });

  it('settle says what was charged, to each of many runs at once', async () => {
    const runs = Array.from({ length: 12 }, () => settle(db.database, completed()));
    const charges = (await Promise.all(runs)).map(({ chargedWei }) => chargedWei);
    assert.equal(new Set(charges).size, 1);
    assert.ok(BigInt(charges[0] ?? 0) > 0n);
  });

  it('settle adds no second, contradicting event to a request that had ended', async () => {
    assert.equal(await abandon(db.database, accepted.requestId), true);
    const late = completed({ state: 'failed', code: 'schedule.deadline_elapsed', usage: null });
    assert.equal((await settle(db.database, late)).chargedWei, '0');
    const events = await db.database.failureEvent.findMany();
    assert.deepEqual(
      events.map(({ code }) => code),
      ['receive.not_started'],
    );
  });

  it('settle captures and releases once, and keeps the first outcome', async () => {
    const before = await balances(db.database);
    const [first, second] = [
      await settle(db.database, completed()),
      await settle(db.database, completed({ state: 'failed', code: 'execute.node_lost' })),
    ];
    assert.equal(first.chargedWei, second.chargedWei);
    const charged = BigInt(first.chargedWei);
    assert.ok(charged > 0n);
    const after = await balances(db.database);
    const reserved = BigInt(accepted.reservedWei);
    assert.equal(after['acct_demo:reserved'], 0n);
    assert.equal(
      after['acct_demo:available'],
      (before['acct_demo:available'] ?? 0n) + reserved - charged,
    );
    assert.equal((await db.database.request.findFirst())?.status, 'completed');
  });

  it('settle never charges more than was reserved, whatever usage a node claims', async () => {
    const { chargedWei } = await settle(db.database, {
      requestId: accepted.requestId,
      accountId: accepted.accountId,
      state: 'completed',
      code: null,
      usage: { promptTokens: 4_000_000_000, completionTokens: 4_000_000_000 },
      price: accepted.price,
      reservedWei: accepted.reservedWei,
      timeline: [],
    });
    assert.equal(chargedWei, accepted.reservedWei);
  });
});

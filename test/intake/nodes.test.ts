import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import pino from 'pino';
import { generateNodeKeys, type NodeKeys } from '../../crypto/keys.ts';
import { reportFailure } from '../../activities/report-failure.ts';
import { drain, heartbeat, nextChallenge } from '../../intake/heartbeat.ts';
import { registerNode } from '../../intake/nodes.ts';
import { CodedError, type ErrorCode } from '../../protocol/errors.ts';
import { testOperator } from '../../bench/signed-binding.ts';
import { seedOperators } from '../../workers/embedded/seed.ts';
import type { UnitId } from '../../protocol/ids.ts';
import { readNode } from '../../prisma/pool.ts';
import { deletePoolNodes } from '../support/pool.ts';
import { transitions } from '../support/presence.ts';
import { registerAs, registrar, registration, signedBy } from '../support/registration.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

function failsAs(code: ErrorCode) {
  return (error: unknown) => {
    assert.ok(error instanceof CodedError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  };
}

describe('intake/nodes', () => {
  let db: TestDatabase;
  let keys: NodeKeys;
  let others: NodeKeys;
  let at: ReturnType<typeof registrar>;
  before(async () => {
    db = await freshDatabase();
    at = registrar(db.database);
    await seedOperators(db.database, ['op', 'other'].map(testOperator));
    [keys, others] = await Promise.all([generateNodeKeys(), generateNodeKeys()]);
  });
  after(() => db.close());

  const register = (changed: object = {}, of: NodeKeys = keys, operatorId?: string) =>
    registerAs(at, of, changed, operatorId);

  const slotsOf = async (id: string) => (await readNode(db.database, id))?.slotsTotal;

  it('registers a node once, however often it comes, with as many slots as it has', async () => {
    await register();
    await register({ slots: 4, tier: 3 });
    const nodes = await db.database.node.findMany();
    assert.deepEqual(
      nodes.map(({ id, claimedTier, operatorId }) => [id, claimedTier, operatorId]),
      [[keys.nodeId, 3, 'op']],
    );
    assert.equal(await slotsOf(keys.nodeId), 4);
    await register({ slots: 1 });
    assert.equal(await slotsOf(keys.nodeId), 1);
  });

  it('knows what its backend can do besides chat, and nothing of a silent one', async () => {
    const features = async () =>
      (await db.database.node.findUniqueOrThrow({ where: { id: others.nodeId } })).features;
    await register({}, others);
    assert.deepEqual(await features(), []);
    await register({ features: ['choices', 'logprobs'] }, others);
    assert.deepEqual(await features(), ['choices', 'logprobs']);
    await register({}, others);
    assert.deepEqual(await features(), []);
    await assert.rejects(
      register({ features: ['telepathy'] }, others),
      failsAs('node.registration_invalid'),
    );
    await deletePoolNodes(db.database, [others.nodeId]);
  });

  it('takes claims for claims: a new node is probing, without speed or tier', async () => {
    const claims = { tier: 5, tokensPerSecond: 1e6 };
    await register(claims, others);
    const node = await db.database.node.findUniqueOrThrow({ where: { id: others.nodeId } });
    assert.deepEqual(
      [node.status, node.tier, node.tokensPerSecond, node.claimedTier, node.claimedTokensPerSecond],
      ['probing', 1, 0, 5, 1e6],
    );
    await deletePoolNodes(db.database, [others.nodeId]);
  });

  const measured = { tier: 2, tokensPerSecond: 50, measuredTokens: 100, measuredSeconds: 2 };
  const returns: [string, object, object, [string, number, number]][] = [
    ['as it was', {}, {}, ['active', 2, 2]],
    ['with another speed and name', { tokensPerSecond: 1e6, name: 'x' }, {}, ['active', 2, 2]],
    ['after draining', {}, { status: 'draining' }, ['active', 2, 2]],
    ['after it lost work', {}, { status: 'probing' }, ['probing', 2, 2]],
    ['with fewer slots', { slots: 1 }, {}, ['active', 2, 2]],
    ['with more slots', { slots: 3 }, {}, ['probing', 2, 2]],
    ['with a lower claim', { tier: 1 }, {}, ['active', 1, 2]],
    ['with a higher claim', { tier: 4 }, {}, ['probing', 2, 2]],
    ['with another engine', { engine: 'instant/2' }, {}, ['probing', 2, 0]],
    ['with other weights', { modelDigest: `sha256:${'3'.repeat(64)}` }, {}, ['probing', 2, 0]],
    ['on another machine', { machine: 'm2' }, {}, ['probing', 2, 0]],
    ['after it was removed', { engine: 'instant/2' }, { status: 'removed' }, ['removed', 2, 0]],
  ];
  for (const [how, claims, state, [status, tier, seconds]] of returns)
    it(`knows a measured node that returns ${how}: ${status}, tier ${tier}`, async () => {
      const where = { id: others.nodeId };
      await register({}, others);
      const data = { status: 'active', ...measured, probeAfter: new Date(0), ...state };
      await db.database.node.update({ where, data });
      await register(claims, others);
      const node = await db.database.node.findUniqueOrThrow({ where });
      assert.deepEqual(
        [node.status, node.tier, node.measuredSeconds, node.tokensPerSecond],
        [status, tier, seconds, 50],
      );
      assert.ok(node.probeAfter <= new Date(), 'it is due at once');
      await deletePoolNodes(db.database, [others.nodeId]);
    });

  describe('a node that owes a canary', () => {
    const present = () => ({ ...at, log: pino({ level: 'silent' }) });
    const registerOther = (changed = {}) => register(changed, others);
    const update = (data: object) =>
      db.database.node.update({
        where: { id: others.nodeId },
        data: { probeUntil: null, ...data },
      });
    const status = async () => (await update({})).status;

    afterEach(() => deletePoolNodes(db.database, [others.nodeId]));

    async function drained(): Promise<void> {
      await registerOther();
      await drain(present(), others.nodeId);
    }

    const read = () => db.database.node.findUniqueOrThrow({ where: { id: others.nodeId } });
    const inSeconds = async () => (Number((await read()).probeAfter) - Date.now()) / 1_000;

    it('gets no other one by registering again, unless its claims changed', async () => {
      const probeUntil = new Date(Date.now() + 60_000);
      await registerOther();
      const states = [{}, { ...measured, status: 'active' }];
      for (const state of states) {
        await update({ ...state, probeUntil });
        for (const same of [{}, { name: 'x', tokensPerSecond: 1e5 }]) {
          await registerOther(same);
          assert.deepEqual((await read()).probeUntil, probeUntil);
        }
      }
      assert.equal((await read()).status, 'active', 'it is measured again, and stays in the pool');
      await registerOther({ slots: 3 });
      const { status: now, probeUntil: underWay } = await read();
      assert.deepEqual([now, underWay], ['probing', null]);
    });

    it('does not bring its next one near by registering again, whatever it claims', async () => {
      await registerOther();
      await update({ probeFailures: 5, probeAfter: new Date(Date.now() + 60_000) });
      for (const changed of [{}, { engine: 'instant/2' }, { engine: 'instant/3' }]) {
        await registerOther(changed);
        const wait = await inSeconds();
        assert.ok(wait > 2 && wait <= 5, String(wait));
      }
    });

    it('is offline until its first heartbeat', async () => {
      await registerOther();
      assert.equal((await read()).isOnline, false);
      const challenge = await nextChallenge(present(), others.nodeId);
      await heartbeat(present(), others.nodeId, { ready: true, running: [], ...challenge });
      assert.equal((await read()).isOnline, true);
      await registerOther();
      assert.equal((await read()).isOnline, true);
      const codes = await transitions(db.database, others.nodeId);
      assert.deepEqual(codes.slice(-1), ['node.online']);
    });

    it('does not get around it by draining', async () => {
      await registerOther({ slots: 1 });
      await update({ ...measured, status: 'active' });
      // More slots than it was measured with.
      await registerOther({ slots: 2 });
      for (const _ of [1, 2]) {
        await drain(present(), others.nodeId);
        await registerOther({ slots: 2 });
        assert.equal(await status(), 'probing');
      }
    });

    it('nor by draining before its loss shows', async () => {
      await registerOther();
      await update({ ...measured, status: 'active' });
      await drained();
      const unitId = `req_${randomBytes(32).toString('hex')}` as UnitId;
      await db.database.dispatch.create({
        data: { unitId, dispatch: 1, nodeId: others.nodeId, coordinator: '' },
      });
      const lost = {
        unitId,
        dispatch: 1,
        nodeId: others.nodeId,
        code: 'execute.node_lost',
      } as const;
      await reportFailure(db.database, lost);
      await registerOther();
      assert.equal(await status(), 'probing');
    });
  });

  it('does not bring a removed node back', async () => {
    await register();
    await db.database.node.update({ where: { id: keys.nodeId }, data: { status: 'removed' } });
    await register();
    assert.equal((await db.database.node.findFirst())?.status, 'removed');
  });

  it('lets nodes of one operator share the slots of a machine, and nobody else', async () => {
    const stranger = await generateNodeKeys();
    const machine = 'shared';
    await register({ machine, slots: 3 });
    await register({ machine, slots: 2 }, others);
    await register({ machine, slots: 4 }, stranger, 'other');
    const machines = await db.database.machine.findMany({
      where: { name: 'shared' },
      include: { slots: true },
      orderBy: { operatorId: 'asc' },
    });
    assert.deepEqual(
      machines.map(({ operatorId, slots }) => [operatorId, slots.length]),
      [
        ['op', 3],
        ['other', 4],
      ],
    );
    // What one of them has taken, the other hasn't got.
    const lease = { unitId: 'u', dispatch: 1, leaseUntil: new Date(Date.now() + 60_000) };
    const id = { machineId: machines[0]?.id ?? '', index: 0 };
    await db.database.slot.update({ where: { machineId_index: id }, data: lease });
    const free = async (nodeId: string) => (await readNode(db.database, nodeId))?.slotsFree;
    assert.deepEqual([await free(keys.nodeId), await free(others.nodeId)], [2, 1]);
    await deletePoolNodes(db.database, [keys.nodeId, others.nodeId, stranger.nodeId]);
  });

  it('refuses who does not hold the key, or signs something else', async () => {
    const said = async (changed: object = {}, by = keys) =>
      signedBy(by, await registration(keys, changed));
    const cases: [object, ErrorCode][] = [
      [await said({}, others), 'node.registration_refused'],
      [await said({ nodeId: others.nodeId }), 'node.registration_refused'],
      [
        { ...(await said()), registration: await registration(keys, { tier: 5 }) },
        'node.registration_refused',
      ],
      [await said({ issuedAtMs: Date.now() - 600_000 }), 'node.registration_refused'],
      [await said({ signingKey: 'AAAA' }), 'node.registration_invalid'],
      [await said({ tier: 9 }), 'node.registration_invalid'],
      [await said({ slots: 0 }), 'node.registration_invalid'],
      [await said({ extra: 1 }), 'node.registration_invalid'],
      [await said({ workloadClasses: ['mining'] }), 'node.registration_invalid'],
      [{}, 'node.registration_invalid'],
    ];
    for (const [body, code] of cases) await assert.rejects(registerNode(at, body), failsAs(code));
  });

  it('ends the draining of a node, and changes no other status', async () => {
    for (const [before, after] of [
      ['draining', 'active'],
      ['active', 'active'],
      ['removed', 'removed'],
    ] as const) {
      await register();
      const data = { ...measured, status: before };
      await db.database.node.update({ where: { id: keys.nodeId }, data });
      await register();
      const node = await db.database.node.findUniqueOrThrow({ where: { id: keys.nodeId } });
      assert.equal(node.status, after);
    }
  });
});

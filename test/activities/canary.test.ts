import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import { concludeCanary, prepareCanary, type CanaryReturn } from '../../activities/canary.ts';
import { canaryPrompt } from '../../activities/canary-prompt.ts';
import { reportFailure } from '../../activities/report-failure.ts';
import {
  exportSpki,
  generateNodeKeys,
  generateWrapKey,
  generateX25519Key,
  type NodeKeys,
} from '../../crypto/keys.ts';
import { Attempts } from '../../nodes/attempts.ts';
import { execute } from '../../nodes/execute.ts';
import type { ErrorCode } from '../../protocol/errors.ts';
import type { NodeId, UnitId } from '../../protocol/ids.ts';
import { CANARY_DEADLINE_SECONDS } from '../../protocol/measure.ts';
import { instantBackend } from '../../bench/instant-backend.ts';
import { addPoolNode, type PoolNodeData } from '../support/pool.ts';
import { transitions } from '../support/presence.ts';
import { seedInstant } from '../support/seeded.ts';
import { freshDatabase, type TestDatabase } from '../support/servers.ts';

const returnKey = await generateX25519Key();
const secrets = {
  wrapRing: [generateWrapKey()],
  channelSecret: createSecretKey(randomBytes(32)),
  returnRing: [returnKey],
  relayed: () => null,
} as const;

describe('activities/canary', () => {
  let db: TestDatabase;
  let keys: NodeKeys;
  let nodeId: NodeId;
  before(async () => {
    keys = await generateNodeKeys();
  });
  beforeEach(async () => {
    db = await freshDatabase();
    await seedInstant(db.database);
    nodeId = await addProbing();
  });
  afterEach(() => db.close());

  const addProbing = (changed: PoolNodeData = {}) =>
    addPoolNode(db.database, {
      id: keys.nodeId,
      status: 'probing',
      tokensPerSecond: 0,
      probe: 1,
      probeUntil: new Date(Date.now() + 50_000),
      signingKey: Uint8Array.from(exportSpki(keys.signing.publicKey)),
      encryptionKey: Uint8Array.from(exportSpki(keys.encryption.publicKey)),
      ...changed,
    });

  const dependencies = () => ({ ...secrets, database: db.database });
  const read = () => db.database.node.findUniqueOrThrow({ where: { id: nodeId } });
  const conclude = (input: CanaryReturn) => concludeCanary(dependencies(), input);

  async function prepared(): Promise<Omit<CanaryReturn, 'returned' | 'failure'> & { run: Run }> {
    const canary = await prepareCanary(dependencies(), { nodeId, probe: 1 });
    assert.ok(canary);
    const { execute: input, ...expected } = canary;
    const run = () =>
      execute(
        {
          keys,
          backend: instantBackend(),
          returnKey: () => returnKey.publicJwk,
          attempts: new Attempts(),
          openStream: () => assert.fail('nobody listens'),
        },
        input,
        {
          cancelled: new AbortController().signal,
          isCancelRequested: () => false,
          heartbeat: () => {},
        },
      );
    return { nodeId, probe: 1, ...expected, run };
  }
  type Run = () => ReturnType<typeof execute>;

  it('is the work of an ordinary node, and counts once', async () => {
    const { run, ...canary } = await prepared();
    const returned = await run();
    const outcome = await conclude({ ...canary, returned });
    assert.equal(outcome.kind, 'passed');
    const node = await read();
    assert.deepEqual([node.status, node.probeUntil], ['active', null]);
    assert.ok(node.tokensPerSecond > 0);
    assert.equal((await conclude({ ...canary, returned })).kind, 'superseded');
    const failure = 'execute.node_lost';
    assert.equal((await conclude({ ...canary, failure })).kind, 'superseded');
    assert.deepEqual(await read(), node);
  });

  describe('of an active node', () => {
    beforeEach(async () => {
      const measured = { status: 'active', measuredTokens: 50, measuredSeconds: 100 };
      await db.database.node.update({ where: { id: nodeId }, data: measured });
    });

    it('adds to what was measured, once, and the node stays active', async () => {
      const { run, ...canary } = await prepared();
      const returned = await run();
      assert.equal((await conclude({ ...canary, returned })).kind, 'passed');
      const node = await read();
      assert.deepEqual([node.status, node.probeUntil], ['active', null]);
      assert.ok(node.measuredSeconds >= 95 && node.measuredSeconds < 99, 'older ones count less');
      assert.ok(node.tokensPerSecond > 0.5, 'faster than it was');
      assert.ok(node.measuredAt > new Date(Date.now() - 30_000));
      assert.equal((await conclude({ ...canary, returned })).kind, 'superseded');
      assert.deepEqual(await read(), node);
    });

    it('has the node show again that it can serve, if it fails', async () => {
      const { run: _run, ...canary } = await prepared();
      const failed = { ...canary, failure: 'execute.backend_failed' } as const;
      assert.equal((await conclude(failed)).kind, 'failed');
      const node = await read();
      assert.deepEqual([node.status, node.probeFailures], ['probing', 1]);
      assert.deepEqual(await transitions(db.database, nodeId), ['node.canary_failed']);
      assert.equal((await conclude(failed)).kind, 'superseded');
      assert.deepEqual(await read(), node);
    });

    it('counts neither way when the node got work meanwhile', async () => {
      const { run: _run, ...canary } = await prepared();
      const unitId = `req_${'b'.repeat(64)}`;
      await db.database.dispatch.create({ data: { unitId, dispatch: 1, nodeId, coordinator: '' } });
      const failed = { ...canary, failure: 'dispatch.node_unreachable' } as const;
      assert.equal((await conclude(failed)).kind, 'superseded');
      const { status, probeFailures, probeUntil, measuredSeconds } = await read();
      assert.deepEqual(
        [status, probeFailures, probeUntil, measuredSeconds],
        ['active', 0, null, 100],
      );
    });

    it('is superseded once the node lost work', async () => {
      const { run, ...canary } = await prepared();
      const unitId = `req_${'c'.repeat(64)}` as UnitId;
      await db.database.dispatch.create({ data: { unitId, dispatch: 1, nodeId, coordinator: '' } });
      await reportFailure(db.database, { unitId, dispatch: 1, nodeId, code: 'execute.node_lost' });
      const returned = await run();
      assert.equal((await conclude({ ...canary, returned })).kind, 'superseded');
      assert.equal((await read()).status, 'probing');
    });
  });

  it('fails once, however often that is reported', async () => {
    const { run: _run, ...canary } = await prepared();
    const failed = { ...canary, failure: 'dispatch.node_unreachable' } as const;
    assert.deepEqual(await conclude(failed), {
      kind: 'failed',
      code: 'node.canary_failed',
      reason: 'dispatch.node_unreachable',
      nextTryInSeconds: 5,
    });
    assert.equal((await conclude(failed)).kind, 'superseded');
    const node = await read();
    assert.deepEqual([node.probeFailures, node.status], [1, 'probing']);
  });

  it('is nothing to a node that waits for another one, or for none', async () => {
    const { run, ...canary } = await prepared();
    const returned = await run();
    for (const changed of [{ probe: 2 }, { probe: 1, probeUntil: null }, { status: 'removed' }]) {
      await db.database.node.update({ where: { id: nodeId }, data: changed });
      assert.equal((await conclude({ ...canary, returned })).kind, 'superseded');
      assert.equal(await prepareCanary(dependencies(), { nodeId, probe: 1 }), null);
    }
    assert.equal((await read()).measuredSeconds, 0);
  });

  const outages: [string, () => Promise<unknown>][] = [
    [
      'that is over',
      () => {
        const [beganAt, endedAt] = [new Date(Date.now() - 40_000), new Date(Date.now() + 1_000)];
        return db.database.outage.create({ data: { beganAt, endedAt } });
      },
    ],
    [
      'that goes on',
      () => db.database.pulse.create({ data: { id: 1, beatAt: new Date(Date.now() - 20_000) } }),
    ],
  ];
  for (const [which, outage] of outages)
    it(`counts neither way when it fell into an outage ${which}`, async () => {
      await outage();
      for (const failure of [undefined, 'execute.node_lost'] as const) {
        await db.database.node.update({
          where: { id: nodeId },
          data: { probeUntil: new Date(Date.now() + 50_000) },
        });
        const { run, ...canary } = await prepared();
        const answer = failure ? { failure } : { returned: await run() };
        assert.deepEqual(await conclude({ ...canary, ...answer }), { kind: 'superseded' });
        const { status, measuredSeconds, probeFailures, probeUntil } = await read();
        assert.deepEqual(
          [status, measuredSeconds, probeFailures, probeUntil],
          ['probing', 0, 0, null],
        );
      }
    });

  it('does not take the return of another canary', async () => {
    const [one, other] = [await prepared(), await prepared()];
    const { run: _run, ...canary } = one;
    const outcome = await conclude({ ...canary, returned: await other.run() });
    assert.deepEqual(outcome.kind === 'failed' && outcome.reason, 'poe.replayed');
  });

  it('does not take a return that is late by its own times', async () => {
    const { run, ...canary } = await prepared();
    const honest = await run();
    const finishedAtMs = honest.decryptedAtMs + CANARY_DEADLINE_SECONDS * 1_000 + 1;
    const outcome = await conclude({ ...canary, returned: { ...honest, finishedAtMs } });
    assert.deepEqual(outcome.kind === 'failed' && outcome.reason, 'node.deadline_exceeded');
    assert.equal((await read()).status, 'probing');
  });

  it('asks something else each time', () => {
    const prompts = Array.from({ length: 200 }, canaryPrompt);
    assert.ok(new Set(prompts).size > 195);
    for (const prompt of prompts) assert.match(prompt, /^[A-Z][\w ]+ [\w, ]+ and \w+\.$/);
  });

  const codes: [ErrorCode, string][] = [
    ['dispatch.node_unreachable', 'probing'],
    ['execute.node_lost', 'probing'],
    ['execute.backend_failed', 'probing'],
    ['node.deadline_exceeded', 'active'],
    ['poe.hash_mismatch', 'active'],
    ['dispatch.envelope_rejected', 'active'],
  ];
  for (const [code, status] of codes)
    it(`leaves a node ${status} after ${code}`, async () => {
      const unitId = `req_${'a'.repeat(64)}` as UnitId;
      await db.database.node.update({ where: { id: nodeId }, data: { status: 'active' } });
      await db.database.dispatch.create({ data: { unitId, dispatch: 1, nodeId, coordinator: '' } });
      await reportFailure(db.database, { unitId, dispatch: 1, nodeId, code });
      assert.equal((await read()).status, status);
      // It has shown since that it can serve, and the report runs again.
      await db.database.node.update({ where: { id: nodeId }, data: { status: 'active' } });
      await reportFailure(db.database, { unitId, dispatch: 1, nodeId, code });
      assert.equal((await read()).status, 'active');
    });
});

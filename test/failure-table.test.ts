import assert from 'node:assert/strict';
import { INSTANT_MODEL, instantBackend } from '../bench/instant-backend.ts';
import { openTicket } from '../crypto/ticket.ts';
import { Attempts } from '../nodes/attempts.ts';
import type { ErrorCode } from '../protocol/errors.ts';
import { shortId, type UnitId } from '../protocol/ids.ts';
import { startCoordination, type Coordination } from './support/coordination.ts';
import { FAULTS } from './support/faults.ts';
import { ACCOUNT, balances } from './support/seeded.ts';
import { startTestNode, type Behaviour, type TestNode } from './support/test-node.ts';
import { until } from './support/until.ts';

const TEXT = 'one two three';

/** The specification's table of failures (§3.4), row by row, over the API. */
describe('failure table', function () {
  this.timeout(120_000);
  let network: Coordination;
  let initial: Record<string, bigint>;
  const nodes: TestNode[] = [];

  before(async () => {
    network = await startCoordination();
  });
  beforeEach(async () => {
    initial = await balances(network.database);
  });
  afterEach(async () => {
    await Promise.all(nodes.splice(0).map((node) => node.stop()));
    await network.database.node.updateMany({ data: { status: 'removed' } });
    const ledger = await balances(network.database);
    assert.equal(
      Object.values(ledger).reduce((sum, wei) => sum + wei, 0n),
      0n,
    );
    assert.equal(ledger[`${ACCOUNT}:reserved`], 0n);
  });
  after(() => network.stop());

  async function addNode(tier: number, behaviour?: Behaviour): Promise<TestNode> {
    const options = { ...network, backend: instantBackend(), name: `node-${tier}`, tier };
    const node = await startTestNode(behaviour ? { ...options, behaviour } : options);
    // A busy machine may have measured it as of a lower tier.
    const data = { tier, tokensPerSecond: 1_000 };
    await network.database.node.update({ where: { id: node.keys.nodeId }, data });
    nodes.push(node);
    return node;
  }

  const ask = (changed: object = {}) =>
    network.chat({
      model: INSTANT_MODEL.id,
      messages: [{ role: 'user', content: TEXT }],
      max_tokens: 16,
      ...changed,
    });

  const idOf = (response: Response) => response.headers.get('x-request-id') ?? '';
  const nodeRow = ({ keys }: TestNode) =>
    network.database.node.findUniqueOrThrow({ where: { id: keys.nodeId } });
  const faultNamed = (name: string) =>
    FAULTS.find((fault) => fault.name === name) ?? assert.fail(name);

  /** The request was served whole by one node, and paid for once. */
  async function assertServedBy(response: Response, node: TestNode, dispatch: number) {
    assert.equal(response.status, 200, await response.text());
    const view = await network.ended(idOf(response));
    assert.equal(view.status, 'completed');
    assert.equal(view.result?.choices[0]?.message.content, TEXT);
    const { proof_of_execution: proof } = view;
    assert.deepEqual([proof?.node, proof?.dispatch], [node.keys.nodeId, dispatch]);
    const chargedWei = BigInt(view.charged_wei);
    assert.ok(chargedWei > 0n);
    const after = await balances(network.database);
    const available = `${ACCOUNT}:available`;
    assert.deepEqual(after, {
      ...initial,
      [available]: (initial[available] ?? 0n) - chargedWei,
      usage: (initial['usage'] ?? 0n) + chargedWei,
    });
    return view.id;
  }

  /** A node fails with a code and another one serves. @returns what was written down. */
  async function redispatched(code: ErrorCode, behaviour: Behaviour, changed: object = {}) {
    const faulty = await addNode(1, behaviour);
    const other = await addNode(2);
    const known = await nodeRow(faulty);
    const id = await assertServedBy(await ask(changed), other, 2);
    const where = { unitId: id };
    const events = await network.database.failureEvent.findMany({ where });
    assert.deepEqual(
      events.map((event) => [event.code, event.dispatch, event.nodeId, event.recovery]),
      [[code, 1, faulty.keys.nodeId, 'redispatch']],
    );
    const flags = await network.database.nodeEvent.findMany({ where });
    assert.deepEqual(
      flags.map((flag) => [flag.code, flag.nodeId]),
      [[code, faulty.keys.nodeId]],
    );
    const attempts = await network.database.dispatch.findMany({
      where,
      orderBy: { dispatch: 'asc' },
    });
    assert.deepEqual(
      attempts.map(({ outcome }) => outcome),
      [code, 'accepted'],
    );
    return { id, faulty, other, known, attempt: attempts[0] };
  }

  describe('Receive request', () => {
    /** Final: no id, no workflow, nothing reserved. */
    async function assertRefused(status: number, code: ErrorCode, changed: object) {
      const held = await balances(network.database);
      const requests = await network.database.request.count();
      const response = await ask(changed);
      const { error } = (await response.json()) as { error: { code: string } };
      assert.deepEqual([response.status, error.code], [status, code]);
      assert.equal(response.headers.get('x-request-id'), null);
      assert.deepEqual(await balances(network.database), held);
      assert.equal(await network.database.request.count(), requests);
      assert.equal(await network.database.waiting.count(), 0);
    }

    /** Of this account, by Temporal; one that is accepted shows that it would have been seen. */
    async function assertNothingScheduledSince(since: Date) {
      const node = await addNode(1);
      const id = await assertServedBy(await ask(), node, 1);
      const query =
        `WorkflowType = 'inference' AND plxAccount = '${ACCOUNT}' ` +
        `AND StartTime >= '${since.toISOString()}'`;
      const started: string[] = [];
      await until(async () => {
        started.length = 0;
        for await (const run of network.client.workflow.list({ query }))
          started.push(run.workflowId);
        return started.includes(id);
      }, 'Temporal lists the request');
      assert.deepEqual(started, [id]);
    }

    it('insufficient credits: final rejection', async () => {
      const since = new Date();
      const available = (initial[`${ACCOUNT}:available`] ?? 0n).toString();
      const move = (key: string, debit: string, credit: string) =>
        network.database.$executeRaw`
          INSERT INTO ledger_transfer (key, purpose, debit_id, credit_id, amount_wei)
          VALUES (${key}, 'test', ${debit}, ${credit}, ${available}::numeric)`;
      await move('away', `${ACCOUNT}:available`, 'funding');
      await assertRefused(402, 'receive.insufficient_credit', {});
      await move('back', 'funding', `${ACCOUNT}:available`);
      await assertNothingScheduledSince(since);
    });

    it('malformed request: final rejection', async () => {
      const since = new Date();
      await assertRefused(400, 'receive.malformed_request', { messages: 'no list' });
      await assertNothingScheduledSince(since);
    });

    it('unknown workload class: final rejection', async () => {
      const since = new Date();
      const changed = { workload_class: 'mining' };
      await assertRefused(400, 'receive.unknown_workload_class', changed);
      await assertNothingScheduledSince(since);
    });
  });

  describe('Schedule / dispatch', () => {
    const waiting = () => network.database.waiting.findMany();

    it('no node satisfies the constraints: held until a candidate appears', async () => {
      const small = await addNode(1);
      const answer = ask({ hardware_tier: 3 });
      await until(async () => (await waiting()).length === 1, 'it is held');
      const candidate = await addNode(3);
      await assertServedBy(await answer, candidate, 1);
      assert.deepEqual([small.executed(), await waiting()], [0, []]);
    });

    it('no node satisfies the constraints: held until the deadline elapses', async () => {
      const small = await addNode(1);
      const response = await ask({ hardware_tier: 5, deadline_seconds: 2 });
      assert.equal(response.status, 503);
      const view = await network.ended(idOf(response));
      assert.deepEqual(
        [view.status, view.error?.code, view.charged_wei],
        ['failed', 'schedule.deadline_elapsed', '0'],
      );
      assert.deepEqual(await balances(network.database), initial);
      assert.deepEqual([small.executed(), await waiting()], [0, []]);
    });
  });

  describe('Execute', () => {
    it('node misses the deadline: re-dispatched once, original discarded, logged', async () => {
      let returned = false;
      const { database } = network;
      const late: Behaviour = async (honest, input, keys) => {
        const { unitId } = await openTicket(input.ticket, keys.encryption.privateKey);
        const where = { unitId, nodeId: keys.nodeId, outcome: { not: null } };
        await until(async () => (await database.dispatch.count({ where })) === 1, 'given up');
        // A whole answer, whatever it was told meanwhile.
        return honest({ attempts: new Attempts() }).finally(() => (returned = true));
      };
      const changed = { deadline_seconds: 2 };
      const { id, faulty, other } = await redispatched('node.deadline_exceeded', late, changed);
      await until(() => returned, 'the original returned');
      assert.equal((await network.ended(id)).proof_of_execution?.node, other.keys.nodeId);
      const lines = await network.logged(id);
      const [failed, ...more] = lines.filter(({ msg }) => msg.includes('attempt failed'));
      assert.deepEqual(more, []);
      assert.deepEqual(
        [failed?.level, failed?.['code'], failed?.['dispatch'], failed?.['node']],
        [40, 'node.deadline_exceeded', 1, shortId(faulty.keys.nodeId)],
      );
      const matches = lines.filter(({ msg }) => msg === 'scheduler // match: assigned');
      assert.deepEqual(
        matches.map((line) => [line['unit'], line['dispatch'], line['node']]),
        [faulty, other].map(({ keys }, index) => [
          shortId(id as UnitId),
          index + 1,
          shortId(keys.nodeId),
        ]),
      );
    });
  });

  describe('Proof-of-Execution', () => {
    for (const name of ['returns no PoE', 'sends a PoE that is no hash'])
      it(`a node that ${name}: re-dispatched, and nothing is credited for it`, async () => {
        const { code, behaviour } = faultNamed(name);
        const { faulty, known, attempt } = await redispatched(code, behaviour);
        // Operators are credited by the day, from these records: the attempt has no time of its
        // own, and measures nothing.
        assert.deepEqual([attempt?.decryptedAt, attempt?.finishedAt], [null, null]);
        const { measuredTokens, measuredSeconds } = await nodeRow(faulty);
        assert.deepEqual(
          [measuredTokens, measuredSeconds],
          [known.measuredTokens, known.measuredSeconds],
        );
      });
  });

  describe('Validate', () => {
    // The row's other half, disagreement and the majority, is in test/workflows/checks.test.ts.
    it('hash mismatch: rejected, and re-dispatched', async () => {
      const { code, behaviour } = faultNamed('sends a wrong hash');
      assert.equal(code, 'poe.hash_mismatch');
      const { id } = await redispatched(code, behaviour);
      const rejected = (await network.logged(id)).find(({ msg }) => msg.includes('rejected'));
      assert.deepEqual([rejected?.['code'], rejected?.['dispatch']], [code, 1]);
    });
  });

  describe('Settle / credit uptime', () => {
    // That repeated ones remove a node from the pool is in test/deep/poe-faults.test.ts.
    it('bad PoE result: dropped, the node flagged, re-dispatched, and no slashing', async () => {
      const { code, behaviour } = faultNamed('ran another model');
      const { faulty, known } = await redispatched(code, behaviour);
      // The ledger was compared whole: nothing was taken from anybody but the requester. Neither
      // was its standing: but for the flag it is what it was.
      const heartbeats = { lastSeenAt: null, heartbeatSequence: null, probeAfter: null };
      assert.deepEqual({ ...(await nodeRow(faulty)), ...heartbeats }, { ...known, ...heartbeats });
    });
  });
});

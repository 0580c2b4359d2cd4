import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { COORDINATOR_QUEUE } from '../../protocol/queues.ts';
import { addPoolNode, deletePoolNodes } from '../support/pool.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { instantBackend } from '../../bench/instant-backend.ts';
import { API_KEY } from '../support/seeded.ts';
import { startTestNode, type TestNode } from '../support/test-node.ts';

interface Explanation {
  readonly status: string;
  readonly error: { readonly code: string } | null;
  readonly requirements: {
    readonly complexity_tokens: number;
    readonly complexity_is_lower_bound: boolean;
  };
  readonly waiting: { readonly position: number; readonly queue_length: number } | null;
  readonly attempts: readonly { readonly node_name: string; readonly outcome: string | null }[];
  readonly nodes: readonly { readonly name: string; readonly failed_filter: string | null }[];
  readonly reasons: readonly { readonly code: string; readonly message: string }[];
  readonly recent_attempts: Readonly<Record<string, number>>;
  readonly events: readonly { readonly code: string; readonly message: string }[];
}

describe('gateway/explain', () => {
  let network: Coordination;
  let node: TestNode;
  let gone: string;
  before(async () => {
    network = await startCoordination();
    const { edge, database } = network;
    const backend = instantBackend({ pieceMs: 1_000, slots: 1 });
    const at = { edge, database, backend };
    node = await startTestNode({ ...at, name: 'real', tier: 1 });
    gone = await storedNode('gone', { status: 'removed' });
    await storedNode('silent', { lastSeenAt: new Date(Date.now() - 3_600_000) });
    await storedNode('other-model', { modelDigest: `sha256:${'2'.repeat(64)}` });
  });
  after(async () => {
    await node.stop();
    await network.stop();
  });

  /** A node that only has a row. It is seen in the future, so that it stays online. */
  async function storedNode(name: string, changed: object = {}): Promise<string> {
    return addPoolNode(network.database, {
      name,
      tier: 3,
      tokensPerSecond: 10,
      lastSeenAt: new Date(Date.now() + 3_600_000),
      ...changed,
    });
  }

  async function get<Answer = Explanation>(path: string): Promise<Answer> {
    const response = await fetch(`${network.gatewayUrl}${path}`, {
      headers: { authorization: `Bearer ${API_KEY}` },
    });
    return (await response.json()) as Answer;
  }

  async function submitted(words: number, changed: object = {}): Promise<string> {
    const response = await fetch(`${network.gatewayUrl}/v1/requests`, {
      method: 'POST',
      headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        model: 'instant',
        messages: [{ role: 'user', content: 'word '.repeat(words) }],
        ...changed,
      }),
    });
    return ((await response.json()) as { id: string }).id;
  }

  async function explained(id: string, isSo: (explanation: Explanation) => boolean) {
    const untilMs = Date.now() + 40_000;
    for (;;) {
      const explanation = await get(`/v1/requests/${id}/explain`);
      if (isSo(explanation)) return explanation;
      assert.ok(Date.now() < untilMs, JSON.stringify(explanation));
      await sleep(50);
    }
  }

  const filters = ({ nodes }: Explanation) =>
    Object.fromEntries(nodes.map(({ name, failed_filter }) => [name, failed_filter]));
  const cancel = (id: string) =>
    fetch(`${network.gatewayUrl}/v1/requests/${id}/cancel`, {
      method: 'POST',
      headers: { authorization: `Bearer ${API_KEY}` },
    });

  it('lists the pool, and needs a key for it', async () => {
    const { data } = await get<{ data: Record<string, unknown>[] }>('/v1/nodes');
    const names = data.map(({ name }) => String(name));
    assert.equal(names[0], 'real', 'the smallest comes first');
    assert.deepEqual(names.toSorted(), ['other-model', 'real', 'silent']);
    const first = data[0] ?? {};
    assert.deepEqual(first, {
      ...first,
      id: node.keys.nodeId,
      object: 'node',
      operator: 'operator-real',
      tier: 1,
      claimed_tier: 1,
      model: 'instant',
      engine: 'instant/1',
      status: 'active',
      online: true,
      ready: true,
      slots_free: 1,
      slots_total: 1,
      claimed_tokens_per_second: 1_000,
      flags: 0,
    });
    assert.ok(Number(data[0]?.['tokens_per_second']) > 0);
    assert.deepEqual(
      data.filter(({ online }) => !online).map(({ name }) => name),
      ['silent'],
    );
    const { status } = await fetch(`${network.gatewayUrl}/v1/nodes`);
    assert.equal(status, 401);
  });

  it('says which filter each node fails, who has the request, and who is next', async () => {
    const running = await submitted(200);
    const now = await explained(running, ({ attempts }) => attempts.length > 0);
    assert.deepEqual(now.attempts, [{ ...now.attempts[0], node_name: 'real', outcome: null }]);
    assert.equal(now.waiting, null);
    // Its prompt's share isn't known: the default of max_tokens is the least it can be.
    assert.deepEqual(
      [now.requirements.complexity_tokens, now.requirements.complexity_is_lower_bound],
      [256, true],
    );
    assert.deepEqual(filters(now), {
      real: 'already_used',
      silent: 'offline',
      'other-model': 'model',
    });

    const small = await submitted(1, { max_tokens: 4 });
    await explained(small, ({ waiting }) => waiting !== null);
    const large = await submitted(1, { max_tokens: 400 });
    const first = await explained(large, ({ waiting }) => waiting !== null);
    assert.deepEqual(filters(first)['real'], 'no_free_slot');
    assert.deepEqual(
      [first.waiting?.position, first.waiting?.queue_length],
      [1, 2],
      'the largest is woken first',
    );
    assert.equal(first.requirements.complexity_is_lower_bound, false);
    assert.ok(first.requirements.complexity_tokens > 400);
    const second = await get(`/v1/requests/${small}/explain`);
    assert.equal(second.waiting?.position, 2);
    const demanding = await submitted(1, { hardware_tier: 5, deadline_seconds: 1 });
    const late = await explained(demanding, ({ status }) => status === 'failed');
    assert.equal(late.error?.code, 'schedule.deadline_elapsed');
    assert.equal(filters(late)['real'], 'tier');
    await Promise.all([small, large, running].map(cancel));
    const ended = await get(`/v1/requests/${running}/explain`);
    assert.equal(ended.status, 'cancelled');
  });

  it('shows one node, also one that was removed from the pool', async () => {
    const { data } = await get<{ data: { id: string; name: string }[] }>('/v1/nodes');
    const listed = data.find(({ name }) => name === 'other-model');
    const shown = await get<{ id: string; last_seen_at: string }>(`/v1/nodes/${listed?.id}`);
    assert.deepEqual(shown, listed);
    const removed = await get<Record<string, unknown>>(`/v1/nodes/${gone}`);
    assert.deepEqual([removed['id'], removed['status']], [gone, 'removed']);
    const unknown = await get<{ error: { code: string } }>(`/v1/nodes/nd_${'0'.repeat(64)}`);
    assert.equal(unknown.error.code, 'gateway.node_not_found');
    assert.equal((await fetch(`${network.gatewayUrl}/v1/nodes/${gone}`)).status, 401);
  });

  it('names a removed node in the attempts that it had', async () => {
    const id = await submitted(1, { hardware_tier: 5 });
    await network.database.dispatch.create({
      data: { unitId: id, dispatch: 1, nodeId: gone, coordinator: 'c', outcome: 'accepted' },
    });
    const { attempts } = await get(`/v1/requests/${id}/explain`);
    assert.equal(attempts[0]?.node_name, 'gone');
    await cancel(id);
  });

  it('says which nodes get work before another one', async () => {
    const first = await storedNode('first', { tier: 4 });
    const second = await storedNode('second', { tier: 4, tokensPerSecond: 11 });
    const { reasons } = await get(`/v1/nodes/${second}/explain`);
    const others = reasons.find(({ code }) => code === 'others_first');
    assert.match(others?.message ?? '', /\bfirst\b/);
    assert.doesNotMatch(others?.message ?? '', /gone|silent|other-model|second/);
    await deletePoolNodes(network.database, [first, second]);
  });

  it('says why a node has no work', async () => {
    const { data } = await get<{ data: { id: string; name: string }[] }>('/v1/nodes');
    const reasons = async (name: string) => {
      const id = name === 'gone' ? gone : data.find((candidate) => candidate.name === name)?.id;
      const explanation = await get(`/v1/nodes/${id}/explain`);
      return explanation.reasons.map(({ code }) => code);
    };
    assert.deepEqual(await reasons('gone'), ['removed']);
    assert.deepEqual(await reasons('silent'), ['offline']);
    assert.deepEqual(await reasons('other-model'), ['model_not_served']);
    const unknown = await get<{ error: { code: string } }>(
      `/v1/nodes/nd_${'0'.repeat(64)}/explain`,
    );
    assert.equal(unknown.error.code, 'gateway.node_not_found');
    const asked = await get<{ error: { param: string } }>(`/v1/nodes/${data[0]?.id}/explain?x=1`);
    assert.equal(asked.error.param, 'x');
  });

  it('tells how a node came and went, latest first', async () => {
    const path = `/v1/nodes/${node.keys.nodeId}/explain`;
    assert.deepEqual(
      (await get(path)).events.map(({ code, message }) => [code, message]),
      [['node.online', 'It is online.']],
    );
    const { nodeId } = node.keys;
    const code = 'node.backend_gone';
    await network.database.nodeTransition.create({ data: { nodeId, code } });
    const [latest, first] = (await get(path)).events;
    assert.equal(latest?.message, 'The node says that its backend can not serve.');
    assert.equal(first?.code, 'node.online');
  });

  it('notices a node that sends heartbeats and does not pick up', async () => {
    const id = await storedNode('deaf', { tier: 4 });
    await network.database.dispatch.createMany({
      data: [1, 2].map((dispatch) => ({
        unitId: `req_${'a'.repeat(64)}`,
        dispatch,
        nodeId: id,
        coordinator: 'c',
        outcome: 'dispatch.node_unreachable',
        decidedAt: new Date(),
      })),
    });
    const explanation = await get(`/v1/nodes/${id}/explain`);
    assert.equal(explanation.reasons[0]?.code, 'not_picking_up');
    assert.deepEqual(explanation.recent_attempts, { 'dispatch.node_unreachable': 2 });
  });

  it('explains by an activity too, for whoever has Temporal and no key', async () => {
    const ask = (type: string, id: string) =>
      network.client.activity.execute<Explanation>(type, {
        id: `${type}-${randomUUID()}`,
        taskQueue: COORDINATOR_QUEUE,
        args: [id],
        startToCloseTimeout: '10s',
        retry: { maximumAttempts: 1 },
      });
    const id = await submitted(3, { hardware_tier: 5 });
    await explained(id, ({ waiting }) => waiting !== null);
    const unit = await ask('explainUnit', id);
    assert.deepEqual(filters(unit), filters(await get(`/v1/requests/${id}/explain`)));
    assert.equal(unit.waiting?.position, 1);
    await cancel(id);
    const { reasons } = await ask('explainNode', node.keys.nodeId);
    assert.ok(reasons.length > 0);
    await assert.rejects(ask('explainUnit', `req_${'0'.repeat(64)}`), (error: Error) =>
      /No such request/.test(String(error.cause)),
    );
  });
});

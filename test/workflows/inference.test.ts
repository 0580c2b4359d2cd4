import assert from 'node:assert/strict';
import type { Backend } from '../../nodes/backends/backend.ts';
import { STEPS } from '../../protocol/lifecycle.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { eventTypes, historyOf, record } from '../support/history.ts';
import { instantBackend } from '../../bench/instant-backend.ts';
import { ACCOUNT, balances } from '../support/seeded.ts';
import { startTestNode, type TestNode, type TestNodeOptions } from '../support/test-node.ts';
import { until } from '../support/until.ts';

/** Eight seconds of a slow backend's answer: a test that meets its middle isn't in a hurry. */
const TWELVE_WORDS = 'one two three four five six seven eight nine ten eleven twelve';
const CANARY = 'xylophone-canary-7141';

/** The events of a request that meets no trouble: design §5 allows 16. */
const FAST_PATH = [
  'WORKFLOW_EXECUTION_STARTED',
  'WORKFLOW_TASK_SCHEDULED',
  'WORKFLOW_TASK_STARTED',
  'WORKFLOW_TASK_COMPLETED',
  'MARKER_RECORDED',
  'MARKER_RECORDED',
  'ACTIVITY_TASK_SCHEDULED',
  'ACTIVITY_TASK_STARTED',
  'ACTIVITY_TASK_COMPLETED',
  'WORKFLOW_TASK_SCHEDULED',
  'WORKFLOW_TASK_STARTED',
  'WORKFLOW_TASK_COMPLETED',
  'MARKER_RECORDED',
  'MARKER_RECORDED',
  'UPSERT_WORKFLOW_SEARCH_ATTRIBUTES',
  'WORKFLOW_EXECUTION_COMPLETED',
];

describe('workflows/inference', () => {
  let network: Coordination;
  const nodes: TestNode[] = [];
  before(async () => {
    network = await startCoordination();
  });
  afterEach(async () => {
    await Promise.all(nodes.splice(0).map((node) => node.stop()));
    // A node that left counts as online for a while; the next test must not meet it.
    await network.database.node.updateMany({ data: { status: 'removed' } });
  });
  after(() => network.stop());

  async function addNode(options: Partial<TestNodeOptions> = {}): Promise<TestNode> {
    const node = await startTestNode({
      database: network.database,
      edge: network.edge,
      backend: instantBackend(),
      name: `node-${nodes.length}`,
      tier: 1 + nodes.length,
      ...options,
    });
    nodes.push(node);
    return node;
  }

  const chatBody = (changed: object = {}) => ({
    model: 'instant',
    messages: [{ role: 'user', content: `tell ${CANARY} twice` }],
    max_tokens: 16,
    ...changed,
  });

  it('serves a request on the fast path: 16 events, the steps by name, no plaintext', async () => {
    const node = await addNode();
    const response = await network.chat(chatBody());
    assert.equal(response.status, 200, await response.clone().text());
    const body = (await response.json()) as {
      id: string;
      choices: { message: { content: string } }[];
    };
    assert.equal(body.choices[0]?.message.content, `tell ${CANARY} twice`);
    const view = await network.ended(body.id);
    assert.equal(view.status, 'completed');
    assert.equal(view.proof_of_execution?.node, node.keys.nodeId);
    assert.deepEqual(
      view.steps?.map(({ step, state }) => [step, state]),
      STEPS.map(({ name, paths }) => [
        name,
        (paths as readonly string[]).includes('inference') ? 'done' : 'skipped',
      ]),
    );

    const history = await historyOf(network.client, body.id);
    assert.deepEqual(eventTypes(history), FAST_PATH);
    const text = JSON.stringify(history);
    const markers = [...text.matchAll(/"activityType":"?(\w+)/g)].map(([, name]) => name);
    assert.ok(!decoded(text).includes(CANARY), 'the history holds plaintext');
    for (const name of ['schedule', 'dispatch', 'validate', 'settle'])
      assert.ok(decoded(text).includes(`"${name}"`) || markers.includes(name), name);
    await record(history, 'fast-path');
  });

  it('is read as the nine steps in Temporal: summary, details, search attributes', async () => {
    const node = await addNode();
    const response = await network.chat(chatBody({ priority: 'urgent' }));
    const { id } = (await response.json()) as { id: string };
    await network.ended(id);
    const handle = network.client.workflow.getHandle(id);
    await handle.result();
    const described = await handle.describe();
    assert.equal(await described.staticSummary(), 'ai.inference · instant · urgent');
    assert.match((await described.staticDetails()) ?? '', /nine steps/);
    assert.equal(described.priority?.priorityKey, 1);
    assert.equal(described.priority?.fairnessKey, ACCOUNT);
    const metadata = await handle.query<{ currentDetails: string }>('__temporal_workflow_metadata');
    for (const { number, title } of STEPS)
      assert.ok(metadata.currentDetails.includes(`${number}. **${title}** · `), title);
    assert.match(metadata.currentDetails, /9\. \*\*Settle\*\* · done: charged \d+ wei · [\d.]+ ms/);
    assert.ok(!metadata.currentDetails.includes(CANARY));
    assert.deepEqual(described.searchAttributes, {
      ...described.searchAttributes,
      plxWorkloadClass: ['ai.inference'],
      plxAccount: [ACCOUNT],
      plxPriority: ['urgent'],
      plxOutcome: ['completed'],
      plxNode: [node.keys.nodeId],
      plxOperator: ['operator-node-0'],
      plxDispatches: [1],
    });
  });

  it('charges what was delivered, and releases the rest', async () => {
    await addNode();
    const before = await balances(network.database);
    const response = await network.chat(chatBody());
    const { id } = (await response.json()) as { id: string };
    const view = await network.ended(id);
    const charged = BigInt(view.charged_wei);
    // One prompt token and three completion tokens, by the instant backend's count.
    assert.equal(charged, 100_000_000_000n + 3n * 400_000_000_000n);
    assert.ok(charged < BigInt(view.reserved_wei));
    const after = await balances(network.database);
    assert.equal(after['acct_demo:available'], (before['acct_demo:available'] ?? 0n) - charged);
    assert.equal(after['acct_demo:reserved'], 0n);
    assert.equal(after['usage'], (before['usage'] ?? 0n) + charged);
  });

  it('holds a request until a node appears', async () => {
    const answer = network.chat(chatBody({ deadline_seconds: 50 }));
    await until(async () => (await network.database.waiting.count()) === 1, 'the request waits');
    await addNode();
    const response = await answer;
    assert.equal(response.status, 200);
    const { id } = (await response.json()) as { id: string };
    assert.equal((await network.ended(id)).status, 'completed');
    assert.equal((await network.database.waiting.findMany()).length, 0);
    await record(await historyOf(network.client, id), 'waited');
  });

  it('fails a request that nobody can take before its deadline, free of charge', async () => {
    const before = await balances(network.database);
    await addNode({ tier: 1 });
    const response = await network.chat(chatBody({ hardware_tier: 5, deadline_seconds: 2 }));
    assert.equal(response.status, 503);
    const { error } = (await response.json()) as { error: Record<string, unknown> };
    const id = response.headers.get('x-request-id') ?? '';
    assert.deepEqual(error, {
      message: `No node that can serve the request became free before its deadline. All nodes of \
this model are of a lower tier than was asked for. It was number 1 of 1 that waited.`,
      type: 'capacity',
      param: null,
      code: 'capacity_unavailable',
      request_id: id,
      metadata: {
        event: 'schedule.deadline_elapsed',
        predicate: 'tier',
        queue_position: 1,
        queue_length: 1,
      },
    });
    assert.equal(response.headers.get('retry-after'), '30');
    const view = await network.ended(id);
    assert.equal(view.status, 'failed');
    assert.equal(view.error?.code, 'schedule.deadline_elapsed');
    assert.equal(view.charged_wei, '0');
    assert.deepEqual(await balances(network.database), before);
    const [event] = await network.database.failureEvent.findMany({ where: { unitId: view.id } });
    assert.equal(event?.code, 'schedule.deadline_elapsed');
    await record(await historyOf(network.client, view.id), 'deadline-elapsed');
  });

  it('ends a run that is cancelled in Temporal as cancelled, and releases its credit', async () => {
    const { backend, said } = slowBackend();
    await addNode({ backend });
    const before = await balances(network.database);
    const answer = network.chat(chatBody({ messages: [{ role: 'user', content: TWELVE_WORDS }] }));
    await until(() => said.length > 0, 'the answer has begun');
    const [running] = await network.database.request.findMany({ where: { status: 'running' } });
    assert.ok(running);
    await network.client.workflow.getHandle(running.id).cancel();
    assert.equal((await answer).status, 499);
    assert.equal((await network.ended(running.id)).status, 'cancelled');
    assert.deepEqual(await balances(network.database), before);
    await record(await historyOf(network.client, running.id), 'cancelled');
  });

  it('finishes, once, a request whose coordinator was killed in the middle', async () => {
    const { backend, said } = slowBackend();
    await addNode({ backend });
    const before = await balances(network.database);
    const answer = network.chat(chatBody({ messages: [{ role: 'user', content: TWELVE_WORDS }] }));
    await until(() => said.length > 0, 'the answer has begun');
    await network.killCoordinator();
    const saidBefore = said.length;
    await until(() => said.length > saidBefore, 'the node goes on without a coordinator');
    await network.startCoordinator();
    const response = await answer;
    assert.equal(response.status, 200, await response.clone().text());
    const { id, choices } = (await response.json()) as {
      id: string;
      choices: { message: { content: string } }[];
    };
    assert.equal(choices[0]?.message.content, TWELVE_WORDS);
    const view = await network.ended(id);
    assert.equal(view.status, 'completed');
    const after = await balances(network.database);
    const spent = (before['acct_demo:available'] ?? 0n) - (after['acct_demo:available'] ?? 0n);
    assert.equal(spent, BigInt(view.charged_wei));
    assert.equal(after['acct_demo:reserved'], 0n);
    const captures = await network.database.ledgerTransfer.count({
      where: { key: { startsWith: id }, purpose: 'capture' },
    });
    assert.equal(captures, 1);
    await record(await historyOf(network.client, id), 'coordinator-killed');
  });
});

/** A backend that takes 700 ms for a word, and what it has said so far. */
function slowBackend(): { readonly backend: Backend; readonly said: readonly string[] } {
  const backend = instantBackend({ pieceMs: 700 });
  const said: string[] = [];
  const generate: Backend['generate'] = (request, onText, signal) =>
    backend.generate(request, (piece) => (said.push(piece), onText(piece)), signal);
  return { backend: { ...backend, generate }, said };
}

/** Payloads in a history's JSON are base64: the plain text of all of them. */
function decoded(text: string): string {
  return [...text.matchAll(/"data":"([^"]+)"/g)]
    .map(([, data]) => Buffer.from(data ?? '', 'base64').toString('utf8'))
    .join('\n');
}

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { spawnRole, type Role } from '../../workers/embedded/process.ts';
import { removeNode } from '../../activities/removal.ts';
import { inTransaction } from '../../prisma/client.ts';
import { reinstate } from '../../prisma/reviews.ts';
import type { NodeId } from '../../protocol/ids.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { endsWithoutFinishReason } from '../support/openai-faults.ts';
import { honest, startOpenAiServer, type OpenAiServer } from '../support/openai-server.ts';
import { freePort, testServers } from '../support/servers.ts';
import { OPERATOR } from '../support/seeded.ts';
import { isActive, startTestNode, type TestNode } from '../support/test-node.ts';
import { transitions, windows } from '../support/presence.ts';
import { nodeEnvironment } from '../support/network-edge.ts';
import { until } from '../support/until.ts';

const API_KEY = 'key-of-the-model-server';
const PROMPT = 'one two three';

/** A node as an operator runs it, in front of a server that comes, fails and goes. */
describe('workers/node with the openai backend', () => {
  let network: Coordination;
  let other: TestNode;
  let server: OpenAiServer;
  let node: Role;
  let port: number;
  let logFile: string;

  before(async function () {
    this.timeout(120_000);
    network = await startCoordination();
    const { directory } = await testServers();
    port = await freePort();
    logFile = join(directory, `node-${port}.log`);
    const starting = spawnRole({
      name: 'node',
      entry: fileURLToPath(new URL('../../workers/node.ts', import.meta.url)),
      logFile,
      env: {
        ...(await nodeEnvironment(network.edge, OPERATOR, join(directory, `keys-node-${port}`))),
        PLX_NODE_NAME: 'in-front',
        PLX_NODE_TIER: '1',
        PLX_BACKEND: 'openai',
        PLX_MODEL_ID: INSTANT_MODEL.id,
        PLX_MODEL_DIGEST: INSTANT_MODEL.digest,
        PLX_OPENAI_URL: `http://127.0.0.1:${port}/v1`,
        PLX_OPENAI_API_KEY: API_KEY,
      },
    });
    const waiting = /the backend is not ready, waiting for it/;
    await Promise.race([starting, until(() => waiting.test(log()), 'it waits for its server')]);
    server = await startOpenAiServer(instantBackend(), port);
    node = await starting;
    const backend = instantBackend();
    await until(isNodeActive, 'it has passed its canary');
    other = await startTestNode({ ...network, backend, name: 'other', tier: 2 });
  });
  after(async function () {
    this.timeout(60_000);
    await node?.stop();
    await other?.stop();
    await server?.stop();
    await network?.stop();
  });

  const log = () => (existsSync(logFile) ? readFileSync(logFile, 'utf8') : '');

  /** Sends a request; the smaller node is asked first. */
  async function chat(stream = false) {
    const response = await network.chat({
      model: INSTANT_MODEL.id,
      messages: [{ role: 'user', content: PROMPT }],
      max_tokens: 16,
      stream,
    });
    const text = await response.text();
    assert.equal(response.status, 200, text);
    const view = await network.ended(response.headers.get('x-request-id') ?? '');
    assert.equal(view.status, 'completed');
    assert.equal(view.result?.choices[0]?.message.content, PROMPT);
    const { node: nodeId, dispatch } = view.proof_of_execution ?? {};
    const by = nodeId === node.ready['nodeId'] ? 'node' : 'other';
    return { id: view.id, text, by, dispatch };
  }

  const nodeId = () => String(node.ready['nodeId']);
  const row = () => network.database.node.findUniqueOrThrow({ where: { id: nodeId() } });

  const isNodeActive = () => isActive(network.database, String(node.ready['nodeId']));

  it('waited for its server, and names its engine', () => {
    assert.match(log(), /"error":"The connection to \S+ failed \(ECONNREFUSED\)/);
    assert.equal(node.ready['engine'], 'vllm/0.10.1 undeclared-hardware');
  });

  it('serves requests whose PoE is accepted, whole and streamed', async () => {
    const whole = await chat();
    assert.deepEqual([whole.by, whole.dispatch], ['node', 1]);
    const streamed = await chat(true);
    assert.deepEqual([streamed.by, streamed.dispatch], ['node', 1]);
    const events = streamed.text.split('\n').filter((line) => line.startsWith('data: {'));
    const deltas = events.map(
      (line) =>
        (JSON.parse(line.slice(6)) as { choices: { delta: { content?: string } }[] }).choices[0]
          ?.delta.content ?? '',
    );
    assert.equal(deltas.join(''), PROMPT);
    assert.equal(server.headers.at(-1)?.authorization, `Bearer ${API_KEY}`);
  });

  it('reports a stream without finish_reason, and another node serves the request', async () => {
    server.serve = endsWithoutFinishReason;
    const { id, by, dispatch } = await chat();
    server.serve = honest;
    assert.deepEqual([by, dispatch], ['other', 2]);
    const events = await network.database.failureEvent.findMany({ where: { unitId: id } });
    assert.deepEqual(
      events.map((event) => [event.code, event.dispatch, event.nodeId, event.recovery]),
      [['execute.backend_failed', 1, node.ready['nodeId'], 'redispatch']],
    );
    assert.deepEqual(await network.database.nodeEvent.findMany({ where: { unitId: id } }), []);
    await until(() => /the backend failed a request/.test(log()), 'a line for the operator');
    assert.match(log(), /"error":"The stream ended without a finish_reason/);
  });

  it('gets no work while its server is away, and comes back with it', async function () {
    this.timeout(120_000);
    await server.stop();
    await until(async () => !(await row()).isReady, 'it says that it is not ready');
    const away = await chat();
    assert.deepEqual([away.by, away.dispatch], ['other', 1]);
    server = await startOpenAiServer(instantBackend(), port);
    await until(async () => (await row()).isReady, 'it says that it is ready');
    // It has lost work, and so has to show again that it can serve.
    await until(isNodeActive, 'it has passed its canary');
    const back = await chat();
    assert.deepEqual([back.by, back.dispatch], ['node', 1]);
    assert.match(log(), /the backend is not healthy: no new work/);
    assert.match(log(), /the backend is back/);
    // All the while it was heard of. Its canary may have met a server that was away or faulty.
    const codes = await transitions(network.database, nodeId());
    assert.deepEqual(
      codes.filter((code) => code !== 'node.canary_failed' && code !== 'node.probing'),
      ['node.online', 'node.backend_gone', 'node.ready'],
    );
    // Its uptime ended with its backend, or before, when it lost work; it is open again.
    const isOpen = async () => (await windows(network.database, nodeId())).at(-1)?.endedAt === null;
    await until(isOpen, 'its uptime counts');
    const ends = (await windows(network.database, nodeId())).map(({ endCode }) => endCode);
    assert.ok(ends.length > 1, 'it never ended');
    for (const end of ends.slice(0, -1))
      assert.ok(end === 'node.backend_gone' || end === 'node.probing', String(end));
  });

  it('polls no more while it is removed, and again once it is let in', async function () {
    this.timeout(120_000);
    const { database } = network;
    await inTransaction(database, (transaction) =>
      removeNode(transaction, nodeId() as NodeId, 'node.removed_wrong_results'),
    );
    await until(() => /was removed from the pool/.test(log()), 'it is told');
    const removed = await chat();
    assert.equal(removed.by, 'other');
    assert.ok(await reinstate(database, nodeId(), 'a reviewer', 'a test'));
    await until(isNodeActive, 'it has passed its canary');
    assert.match(log(), /was let into the pool again/);
    const back = await chat();
    assert.deepEqual([back.by, back.dispatch], ['node', 1]);
  });

  it('logs neither texts nor keys', () => {
    assert.ok(log().includes('node // registered'));
    for (const secret of [PROMPT, 'three', API_KEY]) assert.ok(!log().includes(secret), secret);
  });
});

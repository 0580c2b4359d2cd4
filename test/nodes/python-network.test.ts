import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { testOperator } from '../../bench/signed-binding.ts';
import { loadOrCreateNodeKeys } from '../../crypto/key-files.ts';
import { reinstate } from '../../prisma/reviews.ts';
import { seedOperators } from '../../workers/embedded/seed.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { nodeEnvironment } from '../support/network-edge.ts';
import { honest, startOpenAiServer, type OpenAiServer } from '../support/openai-server.ts';
import { PYTHON_NODE_ENV, startPythonNode, type PythonNode } from '../support/python-node.ts';
import { API_KEY } from '../support/seeded.ts';
import { isActive } from '../support/test-node.ts';
import { until } from '../support/until.ts';

const OPERATOR = 'operator-python';
const SAID = 'naïve words, 日本語 and 🙂 too';

describe('nodes/python in a network', function () {
  this.timeout(120_000);
  let network: Coordination;
  let server: OpenAiServer;
  let node: PythonNode;
  let nodeId: string;
  let env: Record<string, string>;
  let directory: string;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plx-python-'));
    network = await startCoordination();
    server = await startOpenAiServer(instantBackend({ pieceMs: 40 }));
    await seedOperators(network.database, [testOperator(OPERATOR)]);
    env = {
      ...PYTHON_NODE_ENV,
      ...(await nodeEnvironment(network.edge, OPERATOR, directory)),
      PLX_OPENAI_URL: server.url,
      PLX_NODE_SLOTS: '2',
    };
    ({ nodeId } = await loadOrCreateNodeKeys(directory));
    node = await startPythonNode(env);
    await until(() => isActive(network.database, nodeId), 'it has passed its canary');
  });
  after(async () => {
    await node.stop();
    await server.stop();
    await network.stop();
    await rm(directory, { recursive: true, force: true });
  });

  const ask = (body: object = {}) =>
    network.chat({
      model: INSTANT_MODEL.id,
      messages: [{ role: 'user', content: SAID }],
      max_tokens: 32,
      ...body,
    });
  const idOf = (response: Response) => response.headers.get('x-request-id') ?? assert.fail();

  /** The pieces of text that have come so far. */
  const pieces = (text: string) =>
    [...text.matchAll(/^data: (\{.*)$/gm)].flatMap(([, json = '']) => {
      const chunk = JSON.parse(json) as { choices?: { delta: { content?: string } }[] };
      const content = chunk.choices?.[0]?.delta.content;
      return content ? [content] : [];
    });

  it('serves whole answers, each with a proof that holds', async () => {
    const responses = await Promise.all([ask(), ask({ temperature: 0.7, seed: 3, stop: ['#'] })]);
    for (const response of responses) {
      const body = (await response.json()) as { choices: { message: { content: string } }[] };
      assert.equal(response.status, 200, JSON.stringify(body));
      assert.equal(body.choices[0]?.message.content, SAID);
      const view = await network.ended(idOf(response));
      assert.equal(view.status, 'completed');
      assert.equal(view.proof_of_execution?.node, nodeId);
    }
    assert.equal(server.exchanges.at(-1)?.body.stream, true);
  });

  it('gives several choices, texts and log probabilities: it has found that it can', async () => {
    const { features } = await network.database.node.findUniqueOrThrow({ where: { id: nodeId } });
    assert.deepEqual(features, ['choices', 'completion', 'logprobs']);
    const responses = await Promise.all([
      ask({ n: 2, seed: 5, logprobs: true, top_logprobs: 1 }),
      fetch(`${network.gatewayUrl}/v1/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' },
        body: JSON.stringify({
          model: INSTANT_MODEL.id,
          prompt: SAID,
          logprobs: 1,
          max_tokens: 32,
        }),
      }),
    ]);
    type Choice = { message?: { content: string }; text?: string; logprobs: object };
    const [chat, text] = await Promise.all(
      responses.map(async (response) => {
        const body = (await response.json()) as { choices: Choice[] };
        assert.equal(response.status, 200, JSON.stringify(body));
        const view = await network.ended(idOf(response));
        assert.deepEqual([view.status, view.proof_of_execution?.node], ['completed', nodeId]);
        return body.choices;
      }),
    );
    assert.deepEqual(
      chat?.map(({ message }) => message?.content),
      [SAID, SAID],
    );
    assert.deepEqual(
      text?.map((choice) => choice.text),
      [SAID],
    );
    const pieces = SAID.split(/(?<= )/);
    const told = chat?.[1]?.logprobs as { content: { token: string; top_logprobs: object[] }[] };
    assert.deepEqual(
      told.content.map(({ token, top_logprobs: top }) => [token, top.length]),
      pieces.map((piece) => [piece, 1]),
    );
    assert.deepEqual(text?.[0]?.logprobs, { ...text?.[0]?.logprobs, tokens: pieces });
    const seeds = server.exchanges.filter(({ body }) => body.messages).map(({ body }) => body.seed);
    assert.deepEqual(seeds.slice(-2), [5, 6]);
  });

  it('streams an answer as it is made', async () => {
    const response = await ask({ stream: true });
    const text = await response.text();
    assert.deepEqual(pieces(text), SAID.split(/(?<= )/), text);
    const view = await network.ended(idOf(response));
    assert.equal(view.status, 'completed');
    assert.equal(view.proof_of_execution?.node, nodeId);
  });

  it('proves and returns what there is when it is cancelled', async () => {
    const content = Array.from({ length: 200 }, (_, index) => `word${index} `).join('');
    const body = { messages: [{ role: 'user', content }], max_tokens: 200, stream: true };
    const response = await ask(body);
    const id = idOf(response);
    let text = '';
    const reading = (async () => {
      for await (const bytes of response.body ?? []) text += Buffer.from(bytes).toString();
    })();
    await until(() => pieces(text).length >= 3, 'three pieces of text');
    await fetch(`${network.gatewayUrl}/v1/requests/${id}/cancel`, {
      method: 'POST',
      headers: { authorization: `Bearer ${API_KEY}` },
    });
    await reading;
    const view = await network.ended(id);
    assert.equal(view.status, 'cancelled');
    assert.ok(BigInt(view.charged_wei) > 0n, 'what was streamed is paid');
    const count = pieces(text).length;
    assert.ok(count < 200, `${count} pieces`);
    await until(() => server.exchanges.at(-1)?.closed.aborted ?? false, 'the server was let go');
  });

  it('gives up at the deadline, which counts from decrypt', async () => {
    server.serve = (exchange) => {
      exchange.start();
      exchange.delta({ content: 'and then nothing ' });
    };
    const response = await ask({ max_tokens: 8, deadline_seconds: 2 });
    await response.text();
    const { id, charged_wei: charged } = await network.ended(idOf(response));
    const attempts = await network.database.dispatch.findMany({ where: { unitId: id } });
    assert.deepEqual(
      attempts.map(({ outcome }) => outcome),
      ['node.deadline_exceeded'],
    );
    assert.equal(charged, '0');
    await until(() => server.exchanges.at(-1)?.closed.aborted ?? false, 'the server was let go');
    server.serve = honest;
  });

  it('says when no node can run a request, and goes on', async () => {
    server.serve = (exchange) => exchange.refuse(422, { message: 'roles must alternate' });
    const refused = await ask();
    server.serve = honest;
    assert.equal(refused.status, 400);
    assert.match(await refused.text(), /execute\.invalid_request/);
    assert.equal((await ask()).status, 200);
  });

  it('hears that it was removed, and serves again once it is let in', async () => {
    const { database } = network;
    const where = { id: nodeId };
    await database.node.update({ where, data: { status: 'removed' } });
    const review = { nodeId, decision: 'removed', code: 'node.removed_bad_proofs' };
    await database.nodeReview.create({ data: review });
    await until(() => node.logged().includes('was removed from the pool'), 'it hears of it');
    assert.ok(await reinstate(database, nodeId, 'reviewer', 'looked at'));
    await until(() => node.logged().includes('let into the pool again'), 'it hears of that too');
    await until(() => isActive(database, nodeId), 'it has shown again that it can serve');
    assert.equal((await ask()).status, 200);
  });

  it('logs no prompt, no answer and no key', () => {
    assert.match(node.logged(), /node \/\/ registered/);
    assert.doesNotMatch(node.logged(), /naïve|日本語|word1|BEGIN|Bearer/);
  });

  it('drains at SIGTERM, comes back with the certificate that it has, and renews it', async () => {
    const running = ask();
    await until(() => server.exchanges.at(-1)?.finishReason === undefined, 'it generates');
    assert.equal(await node.stop(), 0, node.logged());
    assert.equal((await running).status, 200, 'what it had was ended');
    const left = await network.database.node.findUniqueOrThrow({ where: { id: nodeId } });
    assert.equal(left.isOnline, false);
    // As if it had come long ago: then it is due to be renewed.
    const certificate = join(directory, 'certificate.pem');
    await utimes(certificate, 0, 0);
    const before = await readFile(certificate, 'utf8');
    node = await startPythonNode(env);
    await until(() => isActive(network.database, nodeId), 'it is back');
    await until(() => node.logged().includes('certificate renewed'), 'it has another certificate');
    assert.notEqual(await readFile(certificate, 'utf8'), before);
    assert.doesNotMatch(node.logged(), /enrolled/);
    // By a worker that has another connection now.
    assert.equal((await ask()).status, 200);
  });
});

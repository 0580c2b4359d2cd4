import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import { openDatabase } from '../prisma/client.ts';
import { bindingSigner } from '../protocol/binding.ts';
import type { NodeId } from '../protocol/ids.ts';
import { EMBEDDED_MODEL_ID } from '../workers/embedded/model.ts';
import type { Network } from '../workers/embedded/network.ts';
import type { Terminal } from '../cli/terminal.ts';
import { showRequest, snippets } from '../workers/embedded/show.ts';
import { startTestNetwork } from './support/test-network.ts';

/** The network of `npm start`, with the real model, as an app and an operator meet it. */
describe('network', () => {
  let directory: string;
  let network: Network;
  let client: OpenAI;
  const ended: string[] = [];

  before(async function () {
    this.timeout(120_000);
    directory = await mkdtemp(join(tmpdir(), 'plx-network-'));
    await chmod(directory, 0o755);
    network = await startTestNetwork(directory, (part) => ended.push(part));
    client = new OpenAI({ baseURL: `${network.gatewayUrl}/v1`, apiKey: network.apiKey });
  });
  after(async function () {
    this.timeout(60_000);
    await network.stop();
    await rm(directory, { recursive: true, force: true });
  });

  const story = (maxTokens: number) => ({
    model: EMBEDDED_MODEL_ID,
    messages: [{ role: 'user' as const, content: 'Write a long story about a lighthouse.' }],
    max_tokens: maxTokens,
    temperature: 0,
    seed: 1,
  });
  const ask = (maxTokens: number) => client.chat.completions.create(story(maxTokens));
  const askForStream = (maxTokens: number) =>
    client.chat.completions.create({ ...story(maxTokens), stream: true });

  it('shows prompt, answer, the nine steps, PoE and a link to the run', async () => {
    const lines: string[] = [];
    const out: Terminal = { write: (text) => void lines.push(text), style: (_f, text) => text };
    assert.equal(await showRequest(network, 'Why is the sky blue?', 24, out), true);
    const text = lines.join('');
    assert.match(text, /Prompt {3}Why is the sky blue\?\nAnswer {3}\S/);
    for (const row of [
      / 1 {2}Receive request +coordination +done +\d+\.\d/,
      / 2 {2}Segment +coordination +skipped: inference/,
      / 5 {2}Execute +execution +done on nd_\w{8} +\d+\.\d/,
      / 6 {2}Proof-of-Execution +execution +done on nd_\w{8} +\d+\.\d/,
      / 8 {2}Aggregate +coordination +skipped: inference/,
      / 9 {2}Settle +coordination +done +\d+\.\d/,
      /Status {3}completed/,
      /PoE {6}[0-9a-f]{64}/,
      /Temporal http:\/\/127\.0\.0\.1:\d+\/namespaces\/default\/workflows\/req_[0-9a-f]{64}/,
    ])
      assert.match(text, row);
    const link = /Temporal (\S+)/.exec(text)?.[1] ?? '';
    assert.equal((await fetch(link)).status, 200);
    assert.match(snippets(network), /curl .*chat\/completions/);
  });

  it('has an account for each operator, and the nodes belong to them', async () => {
    const database = openDatabase(network.databaseUrl, 1);
    const operators = await database.operator.findMany({
      include: { nodes: { orderBy: { name: 'asc' } } },
      orderBy: { id: 'asc' },
    });
    await database.$disconnect();
    assert.deepEqual(
      operators.map(({ id, nodes }) => [id, nodes.map(({ name }) => name)]),
      [
        ['operator-a', ['node-1', 'node-3']],
        ['operator-b', ['node-2']],
      ],
    );
    for (const { address, nodes } of operators)
      for (const { id, binding } of nodes)
        assert.equal(await bindingSigner(31_337, id as NodeId, binding), address);
  });

  it('gives the same answer for the same seed, whole or streamed', async () => {
    const whole = await ask(16);
    const stream = await askForStream(16);
    let text = '';
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
    assert.equal(text, whole.choices[0]?.message.content);
    assert.equal(whole.usage?.completion_tokens, 16);
  });

  it('completes a request whose node is killed, in one unbroken stream', async function () {
    this.timeout(90_000);
    const expected = (await ask(200)).choices[0]?.message.content;
    const stream = await askForStream(200);
    let text = '';
    let id = '';
    let killed = false;
    for await (const chunk of stream) {
      id = chunk.id;
      text += chunk.choices[0]?.delta.content ?? '';
      // The smallest node serves first.
      if (!killed && text.length > 40) {
        killed = true;
        process.kill(network.part('node-1').pid, 'SIGKILL');
      }
    }
    assert.ok(killed);
    assert.equal(text, expected);
    const response = await fetch(`${network.gatewayUrl}/v1/requests/${id}`, {
      headers: { authorization: `Bearer ${network.apiKey}` },
    });
    const view = (await response.json()) as {
      proof_of_execution: { dispatch: number; node: string };
    };
    assert.equal(view.proof_of_execution.dispatch, 2);
    assert.equal(view.proof_of_execution.node, network.part('node-2').ready?.['nodeId']);
    assert.deepEqual(ended, ['node-1']);
  });
});

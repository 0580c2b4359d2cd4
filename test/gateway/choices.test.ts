import assert from 'node:assert/strict';
import OpenAI, { BadRequestError, NotFoundError } from 'openai';
import { instantBackend } from '../../bench/instant-backend.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { API_KEY } from '../support/seeded.ts';
import { startTestNode, type TestNode } from '../support/test-node.ts';

const MESSAGES = [{ role: 'user' as const, content: 'alpha beta gamma' }];
const CHAT = { model: 'instant', messages: MESSAGES };
const TEXT = { model: 'instant', prompt: 'one two three' };

describe('gateway/choices: n, logprobs and completions by the OpenAI SDK', function () {
  this.timeout(180_000);
  let network: Coordination;
  let plain: TestNode;
  let able: TestNode;
  let client: OpenAI;
  before(async () => {
    network = await startCoordination();
    const { database, edge } = network;
    const where = { database, edge };
    // Each choice says the seed that it was drawn with.
    const answer = ({ messages, prompt, seed }: Parameters<Answer>[0]) =>
      `${prompt ?? messages.at(-1)?.content} ${seed}`.split(/(?<= )/);
    const backend = { ...instantBackend({ answer }), features: [] };
    // It goes first wherever it may.
    plain = await startTestNode({ ...where, backend, name: 'plain', tier: 1 });
    const more = instantBackend({ answer });
    able = await startTestNode({ ...where, backend: more, name: 'able', tier: 2 });
    client = new OpenAI({ baseURL: `${network.gatewayUrl}/v1`, apiKey: API_KEY, maxRetries: 0 });
  });
  after(async () => {
    await able.stop();
    await plain.stop();
    await network.stop();
  });

  const nodeOf = async (id: string) => {
    const { proof_of_execution: proof, status } = await network.ended(id);
    assert.equal(status, 'completed');
    return proof?.node;
  };

  it('gives a plain chat to the smallest node, and what it cannot do to another', async () => {
    const chat = await client.chat.completions.create(CHAT);
    assert.equal(await nodeOf(chat.id), plain.keys.nodeId);
    const told = await client.chat.completions.create({ ...CHAT, logprobs: true });
    assert.equal(await nodeOf(told.id), able.keys.nodeId);
  });

  it('answers n times, by the seeds that follow the one asked for', async () => {
    const answer = await client.chat.completions.create({ ...CHAT, n: 3, seed: 0xffff_ffff });
    assert.deepEqual(
      answer.choices.map(({ index, message }) => [index, message.content]),
      [4_294_967_295, 0, 1].map((seed, index) => [index, `alpha beta gamma ${seed}`]),
    );
    // The prompt counts once.
    assert.deepEqual(answer.usage, { prompt_tokens: 1, completion_tokens: 12, total_tokens: 13 });
  });

  it('streams several choices whole, each with its own end, and the usage of all', async () => {
    const stream = await client.chat.completions.create({
      ...CHAT,
      n: 2,
      seed: 7,
      stream: true,
      stream_options: { include_usage: true },
    });
    const texts = ['', ''];
    const ends: (string | null)[] = [];
    let total: number | undefined;
    for await (const { choices, usage } of stream) {
      for (const { index, delta, finish_reason: end } of choices) {
        texts[index] += delta.content ?? '';
        if (end) ends[index] = end;
      }
      total = usage?.total_tokens ?? total;
    }
    assert.deepEqual(texts, ['alpha beta gamma 7', 'alpha beta gamma 8']);
    assert.deepEqual([ends, total], [['stop', 'stop'], 9]);
  });

  it('tells how likely each token was, with as many alternatives as were asked for', async () => {
    const asked = { ...CHAT, logprobs: true, seed: 1 };
    const [choice] = (await client.chat.completions.create({ ...asked, top_logprobs: 2 })).choices;
    const told = choice?.logprobs?.content ?? [];
    assert.equal(told.map(({ token }) => token).join(''), choice?.message.content);
    assert.deepEqual(told[0], {
      token: 'alpha ',
      logprob: -0.5,
      bytes: [...Buffer.from('alpha ')],
      top_logprobs: ['alpha ', 'alpha ?'].map((token) => ({
        token,
        logprob: -0.5,
        bytes: [...Buffer.from(token)],
      })),
    });
    const [bare] = (await client.chat.completions.create(asked)).choices;
    assert.deepEqual(bare?.logprobs?.content?.[0]?.top_logprobs, []);
    const [silent] = (await client.chat.completions.create(CHAT)).choices;
    assert.equal(silent?.logprobs, null);
  });

  it('tells it on a stream too, with the end of the answer', async () => {
    const stream = client.chat.completions.stream({ ...CHAT, logprobs: true, seed: 1 });
    const [choice] = (await stream.finalChatCompletion()).choices;
    assert.equal(choice?.message.content, 'alpha beta gamma 1');
    assert.equal(choice?.logprobs?.content?.length, 4);
  });

  it('goes on with a text', async () => {
    const answer = await client.completions.create({ ...TEXT, seed: 4, n: 2, logprobs: 1 });
    assert.equal(answer.object, 'text_completion');
    assert.deepEqual(
      answer.choices.map(({ text }) => text),
      ['one two three 4', 'one two three 5'],
    );
    const [choice] = answer.choices;
    assert.equal(choice?.finish_reason, 'stop');
    assert.deepEqual(choice.logprobs?.text_offset, [0, 4, 8, 14]);
    assert.deepEqual(choice.logprobs?.top_logprobs?.[0], { 'one ': -0.5 });
    assert.equal(answer.usage?.completion_tokens, 8);
    assert.equal(await nodeOf(answer.id), able.keys.nodeId);
    const url = `${network.gatewayUrl}/v1/requests/${answer.id}`;
    const headers = { authorization: `Bearer ${API_KEY}` };
    const view = (await (await fetch(url, { headers })).json()) as { result: { object: string } };
    assert.equal(view.result.object, 'text_completion');
  });

  it('streams a text as it is made', async () => {
    const stream = await client.completions.create({
      ...TEXT,
      seed: 4,
      max_tokens: 3,
      stream: true,
      stream_options: { include_usage: true },
    });
    const texts: string[] = [];
    let end: string | undefined;
    let total: number | undefined;
    for await (const { object, choices, usage } of stream) {
      assert.equal(object, 'text_completion');
      if (choices[0]?.text) texts.push(choices[0].text);
      end = choices[0]?.finish_reason ?? end;
      total = usage?.total_tokens ?? total;
    }
    assert.deepEqual([texts, end, total], [['one ', 'two ', 'three '], 'length', 4]);
  });

  it('refuses what it does not serve of completions, by name', async () => {
    for (const wrong of [
      { prompt: [1, 2] },
      { prompt: ['a', 'b'] },
      { echo: true },
      { suffix: 'x' },
    ])
      await assert.rejects(client.completions.create({ ...TEXT, ...wrong }), (error) => {
        assert.ok(error instanceof BadRequestError, String(error));
        assert.equal(error.param, Object.keys(wrong)[0]);
        return true;
      });
  });

  it('shows a model, and what its nodes can do now', async () => {
    const model = await client.models.retrieve('instant');
    assert.equal(model.id, 'instant');
    const { features, context_tokens: contextTokens } = model as unknown as {
      features: string[];
      context_tokens: number;
    };
    assert.deepEqual(features, ['choices', 'completion', 'logprobs']);
    assert.ok(contextTokens > 0);
    await assert.rejects(client.models.retrieve('nothing'), NotFoundError);
  });

  it('says which filter a node fails that can not do what was asked for', async () => {
    await able.stop();
    const asked = { ...CHAT, logprobs: true, max_tokens: 1, deadline_seconds: 5 };
    const response = await network.chat(asked);
    const body = (await response.json()) as { error: { metadata?: { predicate?: string } } };
    assert.equal(response.status, 503);
    assert.equal(body.error.metadata?.predicate, 'offline');
    const id = response.headers.get('x-request-id') ?? assert.fail();
    const url = `${network.gatewayUrl}/v1/requests/${id}/explain`;
    const explained = await fetch(url, { headers: { authorization: `Bearer ${API_KEY}` } });
    const { nodes } = (await explained.json()) as {
      nodes: { id: string; failed_filter: string }[];
    };
    const failed = nodes.find((node) => node.id === plain.keys.nodeId)?.failed_filter;
    assert.equal(failed, 'features');
  });
});

type Answer = NonNullable<NonNullable<Parameters<typeof instantBackend>[0]>['answer']>;

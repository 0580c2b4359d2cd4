import assert from 'node:assert/strict';
import { BadRequestError } from 'openai';
import { failure, words, type SdkClient } from '../../support/sdk-client.ts';

/** What a caller gets. */
export function answers(sdk: SdkClient): void {
  it('gives a whole answer, with its usage and its id', async () => {
    const answer = await sdk.client.chat.completions.create(sdk.chat('one two three'));
    assert.equal(answer.object, 'chat.completion');
    assert.equal(answer.choices[0]?.message.content, 'one two three');
    assert.equal(answer.choices[0]?.message.role, 'assistant');
    assert.equal(answer.choices[0]?.finish_reason, 'stop');
    assert.deepEqual(
      { ...answer.usage },
      { prompt_tokens: 1, completion_tokens: 3, total_tokens: 4 },
    );
    const { _request_id: requestId } = answer;
    assert.equal(requestId, answer.id);
    assert.match(answer.id, /^req_[0-9a-f]{64}$/);
  });

  it('streams, to the loop that everybody has', async () => {
    const stream = await sdk.client.chat.completions.create({ ...sdk.chat('a b c'), stream: true });
    const pieces: string[] = [];
    const reasons: string[] = [];
    for await (const { choices } of stream) {
      // As in OpenAI's own examples, without a look at whether there is a choice.
      const [choice] = choices as [(typeof choices)[0]];
      if (choice.delta.content) pieces.push(choice.delta.content);
      if (choice.finish_reason) reasons.push(choice.finish_reason);
    }
    assert.deepEqual(pieces, ['a ', 'b ', 'c']);
    assert.deepEqual(reasons, ['stop']);
  });

  it('streams before the answer is whole', async () => {
    const text = words('slow', 20);
    const stream = await sdk.client.chat.completions.create({ ...sdk.chat(text), stream: true });
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
    const [generating] = (await sdk.scene.look(text)).generations;
    assert.equal(generating?.isOver, false);
  });

  it('hears no pings', async () => {
    const { completions } = sdk.open({ baseURL: sdk.scene.pingingUrl }).chat;
    const body = { ...sdk.chat('slow one two'), stream: true as const };
    const raw = await (await completions.create(body).asResponse()).text();
    assert.ok((raw.match(/^: ping$/gm) ?? []).length >= 5, raw);
    const pieces = [];
    for await (const { choices } of await completions.create(body))
      pieces.push(choices[0]?.delta.content);
    assert.deepEqual(pieces.filter(Boolean), ['slow ', 'one ', 'two']);
  });

  it('tells usage in a stream to whom asks for it', async () => {
    const stream_options = { include_usage: true };
    const body = { ...sdk.chat('a b c'), stream: true as const, stream_options };
    const usages = [];
    for await (const { choices, usage } of await sdk.client.chat.completions.create(body))
      if (usage) usages.push({ usage, choices });
    const usage = { prompt_tokens: 1, completion_tokens: 3, total_tokens: 4 };
    assert.deepEqual(usages, [{ usage, choices: [] }]);
  });

  it("puts a stream together by the SDK's own helper", async () => {
    const runner = sdk.client.chat.completions.stream({
      ...sdk.chat('a b c'),
      stream_options: { include_usage: true },
    });
    const final = await runner.finalChatCompletion();
    assert.equal(final.choices[0]?.message.content, 'a b c');
    assert.equal(final.usage?.total_tokens, 4);
  });

  it('takes its own answers back, and refuses what it would ignore', async () => {
    const whole = await sdk.client.chat.completions.create(sdk.chat('one'));
    const streamed = await sdk.client.chat.completions.stream(sdk.chat('two')).finalMessage();
    const said = whole.choices[0]?.message ?? assert.fail();
    const { model, messages } = sdk.chat('three');
    const conversation = [{ role: 'user' as const, content: 'x' }, said, streamed, ...messages];
    const answer = await sdk.client.chat.completions.create({ model, messages: conversation });
    assert.equal(answer.choices[0]?.message.content, 'three');
    // The backend here counts messages.
    assert.equal(answer.usage?.prompt_tokens, 4);
    const named = [{ role: 'user' as const, content: 'x', name: 'Ann' }];
    const call = sdk.client.chat.completions.create({ model, messages: named });
    assert.equal((await failure(call, BadRequestError)).param, 'messages.0.name');
  });

  it('says in the last chunk how a request was checked and what it cost', async () => {
    const stream_options = { include_verification: true } as object;
    const body = { ...sdk.chat('a b c'), stream: true as const, stream_options };
    const chunks = [];
    for await (const chunk of await sdk.client.chat.completions.create(body)) chunks.push(chunk);
    const last = chunks.at(-1) as unknown as {
      choices: unknown[];
      parallelix: { request_id: string; charged_wei: string; proof_of_execution: object };
    };
    assert.deepEqual(last.choices, []);
    assert.equal(last.parallelix.request_id, chunks[0]?.id);
    assert.ok(BigInt(last.parallelix.charged_wei) > 0n);
    assert.ok(last.parallelix.proof_of_execution);
  });

  it('gives n choices, each by a seed of its own', async () => {
    const body = { ...sdk.chat('seeded many'), n: 3, seed: 7 };
    const [first, again] = [
      await sdk.client.chat.completions.create(body),
      await sdk.client.chat.completions.create(body),
    ];
    assert.deepEqual(
      first.choices.map(({ index }) => index),
      [0, 1, 2],
    );
    const texts = first.choices.map(({ message }) => message.content);
    assert.equal(new Set(texts).size, 3);
    assert.deepEqual(
      again.choices.map(({ message }) => message.content),
      texts,
    );
    assert.equal(first.usage?.completion_tokens, 12);
  });

  it('streams n choices', async () => {
    const body = { ...sdk.chat('a b c'), n: 2, stream: true as const };
    const texts = ['', ''];
    for await (const { choices } of await sdk.client.chat.completions.create(body))
      for (const { index, delta } of choices) texts[index] += delta.content ?? '';
    assert.deepEqual(texts, ['a b c', 'a b c']);
  });

  for (const stop of ['three', ['nothing', 'three']])
    it(`stops before ${JSON.stringify(stop)}`, async () => {
      const body = { ...sdk.chat('one two three four'), stop };
      const { choices } = await sdk.client.chat.completions.create(body);
      assert.equal(choices[0]?.message.content, 'one two ');
      assert.equal(choices[0]?.finish_reason, 'stop');
    });

  it('cuts at max_tokens, by either name', async () => {
    for (const limit of [{ max_tokens: 2 }, { max_completion_tokens: 2 }]) {
      const body = { ...sdk.chat('one two three four'), ...limit };
      const { choices } = await sdk.client.chat.completions.create(body);
      assert.equal(choices[0]?.message.content, 'one two ');
      assert.equal(choices[0]?.finish_reason, 'length');
    }
  });

  it('gives equal answers to equal seeds, and others to others', async () => {
    const textOf = async (seed: number) => {
      const answer = await sdk.client.chat.completions.create({ ...sdk.chat('seeded'), seed });
      return answer.choices[0]?.message.content;
    };
    const first = await textOf(1);
    assert.ok(first);
    assert.equal(await textOf(1), first);
    assert.notEqual(await textOf(2), first);
  });

  it('tells log probabilities, with alternatives', async () => {
    const body = { ...sdk.chat('one two'), logprobs: true, top_logprobs: 2 };
    const { choices } = await sdk.client.chat.completions.create(body);
    const content = choices[0]?.logprobs?.content ?? assert.fail();
    assert.deepEqual(
      content.map(({ token }) => token),
      ['one ', 'two'],
    );
    assert.deepEqual(content[1]?.bytes, [...Buffer.from('two')]);
    for (const { logprob, top_logprobs: top } of content) {
      assert.ok(logprob <= 0);
      assert.equal(top.length, 2);
    }
  });

  it('completes a prompt as it is, whole and streamed', async () => {
    const body = { model: sdk.scene.model, prompt: 'one two three' };
    const whole = await sdk.client.completions.create(body);
    assert.equal(whole.object, 'text_completion');
    assert.equal(whole.choices[0]?.text, 'one two three');
    assert.equal(whole.usage?.completion_tokens, 3);
    let text = '';
    for await (const { choices } of await sdk.client.completions.create({ ...body, stream: true }))
      text += choices[0]?.text ?? '';
    assert.equal(text, 'one two three');
  });

  it('lists models, and tells of one', async () => {
    const ids = [];
    for await (const { id } of sdk.client.models.list()) ids.push(id);
    assert.deepEqual(ids, [sdk.scene.model]);
    const model = await sdk.client.models.retrieve(sdk.scene.model);
    assert.equal(model.id, sdk.scene.model);
    assert.equal(model.object, 'model');
  });

  it('takes fields of its own in the body', async () => {
    const own = {
      workload_class: 'ai.inference',
      hardware_tier: 1,
      priority: 'urgent',
      deadline_seconds: 33,
      verification: 'strict',
      on_disconnect: 'continue',
      credit_account: 'acct_demo',
    };
    const { id } = await sdk.client.chat.completions.create({ ...sdk.chat('own fields'), ...own });
    const view = await sdk.viewOf(id);
    assert.equal(view.priority, 'urgent');
    assert.equal(view.deadline_seconds, 33);
    assert.equal(view.delivery, 'strict');
  });

  it('has headers for the request, its attempts and its cost', async () => {
    const { data, response } = await sdk.client.chat.completions
      .create(sdk.chat('headers'))
      .withResponse();
    const { headers } = response;
    assert.equal(headers.get('x-request-id'), data.id);
    assert.match(headers.get('x-trace-id') ?? '', /^[0-9a-f-]{36}$/);
    assert.equal(headers.get('x-plx-attempts'), '1');
    assert.match(headers.get('x-plx-node') ?? '', /^nd_/);
    assert.match(headers.get('x-plx-cost-wei') ?? '', /^[1-9]\d*$/);
    assert.match(headers.get('x-plx-overhead-ms') ?? '', /^\d+(\.\d+)?$/);
  });
}

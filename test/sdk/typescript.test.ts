import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import OpenAI, { APIError, type ClientOptions } from 'openai';
import { SdkScene } from '../support/sdk-scene.ts';
import { until } from '../support/until.ts';

interface RequestView {
  readonly id: string;
  readonly status: string;
  readonly priority: string;
  readonly deadline_seconds: number;
  readonly delivery: string;
  readonly charged_wei: string;
}

describe("OpenAI's SDK in TypeScript", function () {
  this.timeout(60_000);
  let scene: SdkScene;
  let client: OpenAI;
  before(async () => {
    scene = await SdkScene.start();
    client = open();
  });
  after(() => scene.stop());

  /** Without retries, unless a test is about them. */
  function open(options: ClientOptions = {}): OpenAI {
    const { baseUrl: baseURL, keys } = scene;
    return new OpenAI({ baseURL, apiKey: keys.demo, maxRetries: 0, ...options });
  }

  /** A client, and the statuses of the answers that it got. */
  function counted(options: ClientOptions) {
    const statuses: (number | string)[] = [];
    const counting: typeof fetch = async (...call) => {
      try {
        const response = await fetch(...call);
        statuses.push(response.status);
        return response;
      } catch (error) {
        statuses.push(error instanceof Error ? error.name : 'unknown');
        throw error;
      }
    };
    return { client: open({ ...options, fetch: counting }), statuses };
  }

  const chat = (content: string) => ({
    model: scene.model,
    messages: [{ role: 'user' as const, content }],
  });
  const words = (count: number, first: string) =>
    [first, ...Array.from({ length: count }, (_, index) => `word${index}`)].join(' ');
  const viewOf = (id: string) => client.get<unknown, RequestView>(`/requests/${id}`);
  const statusOf = async (id: string) => (await viewOf(id)).status;

  /** What an SDK's call throws. */
  async function failure<Kind extends APIError>(
    call: Promise<unknown>,
    kind: abstract new (...args: never[]) => Kind,
  ): Promise<Kind> {
    const error: unknown = await call.then(
      () => assert.fail('it was answered'),
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof kind, String(error));
    return error;
  }

  /** Whatever was asked with that text was stopped at the node, and its slot is free. */
  async function assertStopped(text: string): Promise<void> {
    await until(async () => {
      const { generations, busySlots } = await scene.look(text);
      return busySlots === 0 && generations.every(({ isAborted }) => isAborted);
    }, 'the node was told to stop, and its slot is free');
    assert.equal((await scene.look(text)).generations.length, 1);
  }

  describe('answers', () => {
    it('gives a whole answer, with its usage and its id', async () => {
      const answer = await client.chat.completions.create(chat('one two three'));
      assert.equal(answer.object, 'chat.completion');
      assert.equal(answer.choices[0]?.message.content, 'one two three');
      assert.equal(answer.choices[0]?.message.role, 'assistant');
      assert.equal(answer.choices[0]?.finish_reason, 'stop');
      assert.deepEqual(
        { ...answer.usage },
        { prompt_tokens: 1, completion_tokens: 3, total_tokens: 4 },
      );
      assert.equal(answer._request_id, answer.id);
      assert.match(answer.id, /^req_[0-9a-f]{64}$/);
    });

    it('streams, to the loop that everybody has', async () => {
      const stream = await client.chat.completions.create({ ...chat('a b c'), stream: true });
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
      const text = words(20, 'slow');
      const stream = await client.chat.completions.create({ ...chat(text), stream: true });
      for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
      const [generating] = (await scene.look(text)).generations;
      assert.equal(generating?.isOver, false);
    });

    it('tells usage in a stream to whom asks for it', async () => {
      const stream_options = { include_usage: true };
      const body = { ...chat('a b c'), stream: true as const, stream_options };
      const usages = [];
      for await (const { choices, usage } of await client.chat.completions.create(body))
        if (usage) usages.push({ usage, choices });
      const usage = { prompt_tokens: 1, completion_tokens: 3, total_tokens: 4 };
      assert.deepEqual(usages, [{ usage, choices: [] }]);
    });

    it("puts a stream together by the SDK's own helper", async () => {
      const runner = client.chat.completions.stream({
        ...chat('a b c'),
        stream_options: { include_usage: true },
      });
      const final = await runner.finalChatCompletion();
      assert.equal(final.choices[0]?.message.content, 'a b c');
      assert.equal(final.usage?.total_tokens, 4);
    });

    it('says in the last chunk how a request was checked and what it cost', async () => {
      const stream_options = { include_verification: true } as object;
      const body = { ...chat('a b c'), stream: true as const, stream_options };
      const chunks = [];
      for await (const chunk of await client.chat.completions.create(body)) chunks.push(chunk);
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
      const body = { ...chat('seeded many'), n: 3, seed: 7 };
      const [first, again] = [
        await client.chat.completions.create(body),
        await client.chat.completions.create(body),
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
      const body = { ...chat('a b c'), n: 2, stream: true as const };
      const texts = ['', ''];
      for await (const { choices } of await client.chat.completions.create(body))
        for (const { index, delta } of choices) texts[index] += delta.content ?? '';
      assert.deepEqual(texts, ['a b c', 'a b c']);
    });

    for (const stop of ['three', ['nothing', 'three']])
      it(`stops before ${JSON.stringify(stop)}`, async () => {
        const body = { ...chat('one two three four'), stop };
        const { choices } = await client.chat.completions.create(body);
        assert.equal(choices[0]?.message.content, 'one two ');
        assert.equal(choices[0]?.finish_reason, 'stop');
      });

    it('cuts at max_tokens, by either name', async () => {
      for (const limit of [{ max_tokens: 2 }, { max_completion_tokens: 2 }]) {
        const body = { ...chat('one two three four'), ...limit };
        const { choices } = await client.chat.completions.create(body);
        assert.equal(choices[0]?.message.content, 'one two ');
        assert.equal(choices[0]?.finish_reason, 'length');
      }
    });

    it('gives equal answers to equal seeds, and others to others', async () => {
      const textOf = async (seed: number) => {
        const answer = await client.chat.completions.create({ ...chat('seeded'), seed });
        return answer.choices[0]?.message.content;
      };
      const first = await textOf(1);
      assert.ok(first);
      assert.equal(await textOf(1), first);
      assert.notEqual(await textOf(2), first);
    });

    it('tells log probabilities, with alternatives', async () => {
      const body = { ...chat('one two'), logprobs: true, top_logprobs: 2 };
      const { choices } = await client.chat.completions.create(body);
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
      const body = { model: scene.model, prompt: 'one two three' };
      const whole = await client.completions.create(body);
      assert.equal(whole.object, 'text_completion');
      assert.equal(whole.choices[0]?.text, 'one two three');
      assert.equal(whole.usage?.completion_tokens, 3);
      let text = '';
      for await (const { choices } of await client.completions.create({ ...body, stream: true }))
        text += choices[0]?.text ?? '';
      assert.equal(text, 'one two three');
    });

    it('lists models, and tells of one', async () => {
      const ids = [];
      for await (const { id } of client.models.list()) ids.push(id);
      assert.deepEqual(ids, [scene.model]);
      const model = await client.models.retrieve(scene.model);
      assert.equal(model.id, scene.model);
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
      const { id } = await client.chat.completions.create({ ...chat('own fields'), ...own });
      const view = await viewOf(id);
      assert.equal(view.priority, 'urgent');
      assert.equal(view.deadline_seconds, 33);
      assert.equal(view.delivery, 'strict');
    });

    it('has headers for the request, its attempts and its cost', async () => {
      const { data, response } = await client.chat.completions
        .create(chat('headers'))
        .withResponse();
      const { headers } = response;
      assert.equal(headers.get('x-request-id'), data.id);
      assert.match(headers.get('x-trace-id') ?? '', /^[0-9a-f-]{36}$/);
      assert.equal(headers.get('x-plx-attempts'), '1');
      assert.match(headers.get('x-plx-node') ?? '', /^nd_/);
      assert.match(headers.get('x-plx-cost-wei') ?? '', /^[1-9]\d*$/);
      assert.match(headers.get('x-plx-overhead-ms') ?? '', /^\d+(\.\d+)?$/);
    });
  });

  describe('errors', () => {
    it('refuses an unknown field by its name', async () => {
      const body = { ...chat('hello'), temprature: 1 };
      const error = await failure(client.chat.completions.create(body), OpenAI.BadRequestError);
      assert.equal(error.status, 400);
      assert.equal(error.param, 'temprature');
      assert.equal(error.code, 'receive.malformed_request');
      assert.equal(error.type, 'invalid_request_error');
      // It was never accepted, so it has no id.
      assert.equal(error.requestID, null);
    });

    it('refuses an unknown key', async () => {
      const call = open({ apiKey: 'plx-unknown' }).chat.completions.create(chat('hello'));
      const error = await failure(call, OpenAI.AuthenticationError);
      assert.equal(error.code, 'receive.unauthorized');
    });

    it('refuses a key without the scope, and the credit of others', async () => {
      const { reader } = scene.keys;
      const call = open({ apiKey: reader }).chat.completions.create(chat('hello'));
      const error = await failure(call, OpenAI.PermissionDeniedError);
      assert.equal(error.code, 'gateway.scope_missing');
      const body = { ...chat('hello'), credit_account: 'acct_poor' };
      const other = await failure(
        client.chat.completions.create(body),
        OpenAI.PermissionDeniedError,
      );
      assert.equal(other.code, 'receive.credit_account_forbidden');
    });

    it('does not find a model or a request that is not there', async () => {
      const body = { ...chat('hello'), model: 'nothing-like-it' };
      for (const call of [
        client.chat.completions.create(body),
        client.models.retrieve('nothing-like-it'),
      ]) {
        const error = await failure(call, OpenAI.NotFoundError);
        assert.equal(error.code, 'receive.unknown_model');
      }
      const error = await failure(viewOf(`req_${'0'.repeat(64)}`), OpenAI.NotFoundError);
      assert.equal(error.code, 'gateway.request_not_found');
    });

    it('asks for money with 402', async () => {
      const call = open({ apiKey: scene.keys.poor }).chat.completions.create(chat('hello'));
      const error = await failure(call, APIError);
      assert.equal(error.status, 402);
      assert.equal(error.code, 'receive.insufficient_credit');
      assert.equal(error.type, 'insufficient_quota');
    });

    it('has nothing to cancel of a request that ended, and says so once', async () => {
      const { id } = await client.chat.completions.create(chat('soon over'));
      await until(async () => (await statusOf(id)) === 'completed', 'it has ended');
      const { client: again, statuses } = counted({ maxRetries: 2 });
      const error = await failure(again.delete(`/requests/${id}`), OpenAI.ConflictError);
      assert.equal(error.code, 'gateway.request_ended');
      assert.deepEqual(statuses, [409]);
    });

    it('refuses another body with the same Idempotency-Key, and is not asked again', async () => {
      const headers = { 'idempotency-key': randomUUID() };
      await client.chat.completions.create(chat('one body'), { headers });
      const { client: again, statuses } = counted({ maxRetries: 2 });
      const call = again.chat.completions.create(chat('another body'), { headers });
      const error = await failure(call, OpenAI.UnprocessableEntityError);
      assert.equal(error.code, 'receive.idempotency_mismatch');
      assert.equal(error.headers?.get('x-should-retry'), 'false');
      assert.deepEqual(statuses, [422]);
    });

    it('says when to come back, which the SDK does', async () => {
      const { single } = scene.keys;
      const text = words(20, 'slow');
      const running = open({ apiKey: single }).chat.completions.create(chat(text));
      await until(async () => (await scene.look(text)).generations.length > 0, 'it is running');
      const call = open({ apiKey: single }).chat.completions.create(chat('too many'));
      const error = await failure(call, OpenAI.RateLimitError);
      assert.equal(error.code, 'receive.rate_limited');
      const seconds = Number(error.headers?.get('retry-after'));
      assert.ok(seconds >= 1 && seconds <= 60, String(seconds));
      const { client: patient, statuses } = counted({ apiKey: single, maxRetries: 5 });
      const beganAtMs = performance.now();
      await patient.chat.completions.create(chat('not too many any more'));
      assert.equal(statuses[0], 429);
      assert.equal(statuses.at(-1), 200);
      const tookMs = performance.now() - beganAtMs;
      assert.ok(tookMs >= 1_000 * seconds * (statuses.length - 1), `${tookMs} ms`);
      await running;
    });

    it('says what was missing when no node came up until the deadline', async () => {
      const own = { hardware_tier: 5, deadline_seconds: 1 };
      const body = { ...chat('for a large node'), ...own };
      const error = await failure(client.chat.completions.create(body), OpenAI.InternalServerError);
      assert.equal(error.status, 503);
      assert.equal(error.code, 'capacity_unavailable');
      const { metadata, request_id: id } = error.error as {
        metadata: Record<string, unknown>;
        request_id: string;
      };
      assert.equal(metadata['event'], 'schedule.deadline_elapsed');
      assert.equal(typeof metadata['predicate'], 'string');
      assert.equal(typeof metadata['queue_position'], 'number');
      assert.equal(typeof metadata['queue_length'], 'number');
      assert.equal(error.requestID, id);
      assert.ok(Number(error.headers?.get('retry-after')) <= 60);
    });

    it('ends a stream that was cancelled with an error', async () => {
      const text = words(100, 'slow');
      const stream = await client.chat.completions.create({ ...chat(text), stream: true });
      const reading = (async () => {
        let isCancelled = false;
        for await (const { id, choices } of stream) {
          if (isCancelled || !choices[0]?.delta.content) continue;
          isCancelled = true;
          await client.delete(`/requests/${id}`);
        }
      })();
      const error = await failure(reading, APIError);
      assert.equal(error.code, 'execute.cancelled');
      await assertStopped(text);
    });

    it('never mixes the texts of two attempts', async () => {
      const body = { ...chat('differing texts'), stream: true as const, deadline_seconds: 5 };
      let text = '';
      const reading = (async () => {
        for await (const { choices } of await client.chat.completions.create(body))
          text += choices[0]?.delta.content ?? '';
      })();
      const error = await failure(reading, APIError);
      assert.equal(error.code, 'gateway.stream_superseded');
      assert.equal(text.match(/words of attempt/g)?.length, 1, text);
    });
  });

  describe('gone and back', () => {
    it('gives up at its timeout: the request is cancelled, and its slot free', async () => {
      const text = words(400, 'slow');
      const call = open({ timeout: 1_000 }).chat.completions.create(chat(text));
      await failure(call, OpenAI.APIConnectionTimeoutError);
      await assertStopped(text);
    });

    it('aborts a whole answer', async () => {
      const text = `${words(400, 'slow')} whole`;
      const controller = new AbortController();
      const call = client.chat.completions.create(chat(text), { signal: controller.signal });
      const aborted = failure(call, OpenAI.APIUserAbortError);
      await until(async () => (await scene.look(text)).generations.length > 0, 'it is running');
      controller.abort();
      await aborted;
      await assertStopped(text);
    });

    it('aborts a stream', async () => {
      const text = `${words(400, 'slow')} stream`;
      const stream = await client.chat.completions.create({ ...chat(text), stream: true });
      let id = '';
      for await (const chunk of stream) {
        id = chunk.id;
        if (chunk.choices[0]?.delta.content) stream.controller.abort();
      }
      await assertStopped(text);
      await until(async () => (await statusOf(id)) === 'cancelled', 'it is cancelled');
    });

    it('goes on without its caller if it was told to', async () => {
      const text = `${words(20, 'slow')} on`;
      const body = { ...chat(text), stream: true as const, on_disconnect: 'continue' };
      const stream = await client.chat.completions.create(body);
      let id = '';
      for await (const chunk of stream) {
        ({ id } = chunk);
        if (chunk.choices[0]?.delta.content) break;
      }
      await until(async () => (await statusOf(id)) === 'completed', 'it has completed');
      assert.equal((await scene.look(text)).generations[0]?.isOver, true);
    });

    it('retries with an Idempotency-Key, joins what runs, and pays once', async () => {
      const text = `${words(40, 'slow')} once`;
      const { client: impatient, statuses } = counted({ timeout: 700, maxRetries: 20 });
      const headers = { 'idempotency-key': randomUUID() };
      const answer = await impatient.chat.completions.create(chat(text), { headers });
      assert.equal(answer.choices[0]?.message.content, text);
      assert.ok(statuses.length > 1, 'it has tried more than once');
      assert.equal((await scene.look(text)).generations.length, 1);
      await until(async () => (await statusOf(answer.id)) === 'completed', 'it has completed');
      // And again, long after: the same answer, nothing to pay.
      const again = await client.chat.completions.create(chat(text), { headers });
      assert.equal(again.id, answer.id);
      assert.deepEqual(again.choices, answer.choices);
      const { generations, charges } = await scene.look(text, answer.id);
      assert.equal(generations.length, 1);
      assert.equal(charges, 1);
    });

    it('replays a stream with the same Idempotency-Key', async () => {
      const headers = { 'idempotency-key': randomUUID() };
      const body = { ...chat('once and for all'), stream: true as const };
      const read = async () => {
        let [id, text] = ['', ''];
        for await (const chunk of await client.chat.completions.create(body, { headers })) {
          ({ id } = chunk);
          text += chunk.choices[0]?.delta.content ?? '';
        }
        return { id, text };
      };
      const first = await read();
      assert.equal(first.text, 'once and for all');
      assert.deepEqual(await read(), first);
      assert.equal((await scene.look('once and for all')).generations.length, 1);
    });
  });
});

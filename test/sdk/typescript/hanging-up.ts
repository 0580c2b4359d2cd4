import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { APIConnectionTimeoutError, APIUserAbortError } from 'openai';
import { failure, words, type SdkClient } from '../../support/sdk-client.ts';
import { until } from '../../support/until.ts';

/** Callers who go, and come back. */
export function hangingUp(sdk: SdkClient): void {
  it('gives up at its timeout: the request is cancelled, and its slot free', async () => {
    const text = words('slow', 400);
    const call = sdk.open({ timeout: 1_000 }).chat.completions.create(sdk.chat(text));
    await failure(call, APIConnectionTimeoutError);
    await sdk.assertStopped(text);
  });

  it('aborts a whole answer', async () => {
    const text = `${words('slow', 400)} whole`;
    const controller = new AbortController();
    const call = sdk.client.chat.completions.create(sdk.chat(text), { signal: controller.signal });
    const aborted = failure(call, APIUserAbortError);
    await until(async () => (await sdk.scene.look(text)).generations.length > 0, 'it is running');
    controller.abort();
    await aborted;
    await sdk.assertStopped(text);
  });

  it('aborts a stream', async () => {
    const text = `${words('slow', 400)} stream`;
    const stream = await sdk.client.chat.completions.create({ ...sdk.chat(text), stream: true });
    let id = '';
    for await (const chunk of stream) {
      id = chunk.id;
      if (chunk.choices[0]?.delta.content) stream.controller.abort();
    }
    await sdk.assertStopped(text);
    await until(async () => (await sdk.statusOf(id)) === 'cancelled', 'it is cancelled');
  });

  it('goes on without its caller if it was told to', async () => {
    const text = `${words('slow', 20)} on`;
    const body = { ...sdk.chat(text), stream: true as const, on_disconnect: 'continue' };
    const stream = await sdk.client.chat.completions.create(body);
    let id = '';
    for await (const chunk of stream) {
      ({ id } = chunk);
      if (chunk.choices[0]?.delta.content) break;
    }
    await until(async () => (await sdk.statusOf(id)) === 'completed', 'it has completed');
    assert.equal((await sdk.scene.look(text)).generations[0]?.isOver, true);
  });

  it('retries with an Idempotency-Key, joins what runs, and pays once', async () => {
    const text = `${words('slow', 40)} once`;
    const { client: impatient, statuses } = sdk.counted({ timeout: 700, maxRetries: 20 });
    const headers = { 'idempotency-key': randomUUID() };
    const answer = await impatient.chat.completions.create(sdk.chat(text), { headers });
    assert.equal(answer.choices[0]?.message.content, text);
    assert.ok(statuses.length > 1, 'it has tried more than once');
    assert.equal((await sdk.scene.look(text)).generations.length, 1);
    await until(async () => (await sdk.statusOf(answer.id)) === 'completed', 'it has completed');
    // And again, long after: the same answer, nothing to pay.
    const again = await sdk.client.chat.completions.create(sdk.chat(text), { headers });
    assert.equal(again.id, answer.id);
    assert.deepEqual(again.choices, answer.choices);
    const { generations, charges } = await sdk.scene.look(text, answer.id);
    assert.equal(generations.length, 1);
    assert.equal(charges, 1);
  });

  it('replays a stream with the same Idempotency-Key', async () => {
    const headers = { 'idempotency-key': randomUUID() };
    const body = { ...sdk.chat('once and for all'), stream: true as const };
    const read = async () => {
      let [id, text] = ['', ''];
      for await (const chunk of await sdk.client.chat.completions.create(body, { headers })) {
        ({ id } = chunk);
        text += chunk.choices[0]?.delta.content ?? '';
      }
      return { id, text };
    };
    const first = await read();
    assert.equal(first.text, 'once and for all');
    assert.deepEqual(await read(), first);
    assert.equal((await sdk.scene.look('once and for all')).generations.length, 1);
  });
}

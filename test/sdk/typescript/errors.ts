import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import {
  APIError,
  AuthenticationError,
  BadRequestError,
  ConflictError,
  InternalServerError,
  NotFoundError,
  PermissionDeniedError,
  RateLimitError,
  UnprocessableEntityError,
} from 'openai';
import { assertHeadersDescribed } from '../../support/described-headers.ts';
import { failure, words, type SdkClient } from '../../support/sdk-client.ts';
import { until } from '../../support/until.ts';

/** What a caller is told. */
export function errors(sdk: SdkClient): void {
  it('refuses an unknown field by its name', async () => {
    const body = { ...sdk.chat('hello'), temprature: 1 };
    const error = await failure(sdk.client.chat.completions.create(body), BadRequestError);
    assert.equal(error.status, 400);
    assert.equal(error.param, 'temprature');
    assert.equal(error.code, 'receive.malformed_request');
    assert.equal(error.type, 'invalid_request_error');
    // It was never accepted, so it has no id.
    assert.equal(error.requestID, null);
  });

  it('refuses an unknown key', async () => {
    const call = sdk.open({ apiKey: 'plx-unknown' }).chat.completions.create(sdk.chat('hello'));
    const error = await failure(call, AuthenticationError);
    assert.equal(error.code, 'receive.unauthorized');
  });

  it('refuses a key without the scope, and the credit of others', async () => {
    const { reader } = sdk.scene.keys;
    const call = sdk.open({ apiKey: reader }).chat.completions.create(sdk.chat('hello'));
    const error = await failure(call, PermissionDeniedError);
    assert.equal(error.code, 'gateway.scope_missing');
    const body = { ...sdk.chat('hello'), credit_account: 'acct_poor' };
    const other = await failure(sdk.client.chat.completions.create(body), PermissionDeniedError);
    assert.equal(other.code, 'receive.credit_account_forbidden');
  });

  it('does not find a model or a request that is not there', async () => {
    const body = { ...sdk.chat('hello'), model: 'nothing-like-it' };
    for (const call of [
      sdk.client.chat.completions.create(body),
      sdk.client.models.retrieve('nothing-like-it'),
    ]) {
      const error = await failure(call, NotFoundError);
      assert.equal(error.code, 'receive.unknown_model');
    }
    const error = await failure(sdk.viewOf(`req_${'0'.repeat(64)}`), NotFoundError);
    assert.equal(error.code, 'gateway.request_not_found');
  });

  it('asks for money with 402', async () => {
    const call = sdk
      .open({ apiKey: sdk.scene.keys.poor })
      .chat.completions.create(sdk.chat('hello'));
    const error = await failure(call, APIError);
    assert.equal(error.status, 402);
    assert.equal(error.code, 'receive.insufficient_credit');
    assert.equal(error.type, 'insufficient_quota');
  });

  it('has nothing to cancel of a request that ended, and says so once', async () => {
    const { id } = await sdk.client.chat.completions.create(sdk.chat('soon over'));
    await until(async () => (await sdk.statusOf(id)) === 'completed', 'it has ended');
    const { client: again, statuses } = sdk.counted({ maxRetries: 2 });
    const error = await failure(again.delete(`/requests/${id}`), ConflictError);
    assert.equal(error.code, 'gateway.request_ended');
    assert.deepEqual(statuses, [409]);
  });

  it('refuses another body with the same Idempotency-Key, and is not asked again', async () => {
    const headers = { 'idempotency-key': randomUUID() };
    await sdk.client.chat.completions.create(sdk.chat('one body'), { headers });
    const { client: again, statuses } = sdk.counted({ maxRetries: 2 });
    const call = again.chat.completions.create(sdk.chat('another body'), { headers });
    const error = await failure(call, UnprocessableEntityError);
    assert.equal(error.code, 'receive.idempotency_mismatch');
    assert.equal(error.headers?.get('x-should-retry'), 'false');
    assert.deepEqual(statuses, [422]);
  });

  it('says when to come back, which the SDK does', async () => {
    const { single } = sdk.scene.keys;
    const text = words('slow', 40);
    const running = sdk.open({ apiKey: single }).chat.completions.create(sdk.chat(text));
    await until(async () => (await sdk.scene.look(text)).generations.length > 0, 'it is running');
    const call = sdk.open({ apiKey: single }).chat.completions.create(sdk.chat('too many'));
    const error = await failure(call, RateLimitError);
    assert.equal(error.code, 'receive.rate_limited');
    const seconds = Number(error.headers?.get('retry-after'));
    assert.ok(seconds >= 1 && seconds <= 60, String(seconds));
    const { client: patient, statuses } = sdk.counted({ apiKey: single, maxRetries: 5 });
    const beganAtMs = performance.now();
    await patient.chat.completions.create(sdk.chat('not too many any more'));
    assert.equal(statuses[0], 429);
    assert.equal(statuses.at(-1), 200);
    const tookMs = performance.now() - beganAtMs;
    assert.ok(tookMs >= 1_000 * seconds * (statuses.length - 1), `${tookMs} ms`);
    await running;
  });

  it('tells with each answer what is left of the limits, and then when to come back', async () => {
    const told = (headers: Headers | undefined) =>
      ['limit', 'remaining', 'reset'].map((what) => headers?.get(`x-ratelimit-${what}-requests`));
    const { completions } = sdk.open({ apiKey: sdk.scene.keys.paced }).chat;
    const path = '/v1/chat/completions';
    const whole = await completions.create(sdk.chat('paced')).asResponse();
    assert.equal(((await whole.json()) as { object: string }).object, 'chat.completion');
    assert.deepEqual(told(whole.headers).slice(0, 2), ['2', '1']);
    const streamed = await completions.create({ ...sdk.chat('paced'), stream: true }).asResponse();
    assert.match(await streamed.text(), /\[DONE\]/);
    assert.deepEqual(told(streamed.headers).slice(0, 2), ['2', '0']);
    const { status, headers } = await failure(completions.create(sdk.chat('x')), RateLimitError);
    assert.equal(status, 429);
    const [limit, remaining, reset] = told(headers);
    assert.deepEqual([limit, remaining], ['2', '0']);
    const seconds = Number(headers.get('retry-after'));
    assert.ok(seconds >= 1 && seconds <= 60, String(seconds));
    assert.equal(reset, seconds === 60 ? '1m0s' : `${seconds}s`);
    for (const answer of [whole, streamed, { status, headers }])
      assertHeadersDescribed('post', path, answer);
  });

  it('says what was missing when no node came up until the deadline', async () => {
    const own = { hardware_tier: 5, deadline_seconds: 1 };
    const body = { ...sdk.chat('for a large node'), ...own };
    const error = await failure(sdk.client.chat.completions.create(body), InternalServerError);
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
    assertHeadersDescribed('post', '/v1/chat/completions', {
      status: error.status,
      headers: error.headers,
    });
    assert.ok(Number(error.headers?.get('retry-after')) <= 60);
  });

  it('ends a stream that was cancelled with an error', async () => {
    const text = words('slow', 100);
    const stream = await sdk.client.chat.completions.create({ ...sdk.chat(text), stream: true });
    const reading = (async () => {
      let isCancelled = false;
      for await (const { id, choices } of stream) {
        if (isCancelled || !choices[0]?.delta.content) continue;
        isCancelled = true;
        await sdk.client.delete(`/requests/${id}`);
      }
    })();
    const error = await failure(reading, APIError);
    assert.equal(error.code, 'execute.cancelled');
    await sdk.assertStopped(text);
  });

  it('never mixes the texts of two attempts', async () => {
    const body = { ...sdk.chat('differing texts'), stream: true as const };
    let text = '';
    const reading = (async () => {
      for await (const { choices } of await sdk.client.chat.completions.create(body))
        text += choices[0]?.delta.content ?? '';
    })();
    const error = await failure(reading, APIError);
    assert.equal(error.code, 'gateway.stream_superseded');
    assert.equal(text, 'the first words ');
  });
}

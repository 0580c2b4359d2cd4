import assert from 'node:assert/strict';
import { ContextExceededError } from '../../../nodes/backends/backend.ts';
import type { Backend } from '../../../nodes/backends/backend.ts';
import { ask, LONG_TEXT, run, startBackend } from './support.ts';

async function elapsedMs(work: () => Promise<unknown>): Promise<number> {
  const startedAtMs = performance.now();
  await work();
  return performance.now() - startedAtMs;
}

/** However busy the machine is: far less than a whole answer took on it. */
function assertSoon(durationMs: number, wholeMs: number): void {
  assert.ok(durationMs < wholeMs / 2, `${durationMs} ms of ${wholeMs} ms`);
}

describe('a slot of the llama backend', () => {
  let backend: Backend;
  before(async () => {
    backend = await startBackend();
  });
  after(() => backend.close());

  const next = ask('What is the word? Answer with it alone.', { maxTokens: 12 });

  it('makes nothing for a request that is aborted already', async () => {
    const answer = await run(backend, next, AbortSignal.abort());
    assert.deepEqual(
      [answer.finishReason, answer.text, answer.completionTokens],
      ['cancelled', '', 0],
    );
    assert.ok(answer.promptTokens > 10);
  });

  it('returns what there is soon after an abort', async () => {
    const request = ask('Tell a long story.', { maxTokens: 200 });
    const wholeMs = await elapsedMs(() => run(backend, request));
    const abort = new AbortController();
    let abortedAtMs = 0;
    const deltas: string[] = [];
    const answer = await backend.generate(
      request,
      (delta) => {
        if (deltas.push(delta) !== 5) return;
        abort.abort();
        abortedAtMs = performance.now();
      },
      abort.signal,
    );
    assertSoon(performance.now() - abortedAtMs, wholeMs);
    assert.equal(answer.finishReason, 'cancelled');
    assert.equal(answer.text, deltas.join(''));
    assert.equal(answer.completionTokens, answer.tokenIds?.length);
    const whole = await run(backend, { ...request, maxTokens: answer.completionTokens });
    assert.deepEqual(answer.tokenIds, whole.tokenIds);
    assert.equal(answer.text, whole.text);
  });

  it('returns soon after an abort while it reads the prompt, and is clean afterwards', async () => {
    const before = await run(backend, next);
    // Nearly all of its time goes into reading the prompt, so an eighth is well within that.
    const request = ask(LONG_TEXT.repeat(4), { maxTokens: 8 });
    const wholeMs = await elapsedMs(() => run(backend, request));
    const abort = new AbortController();
    let abortedAtMs = 0;
    setTimeout(() => {
      abort.abort();
      abortedAtMs = performance.now();
    }, wholeMs / 8);
    const answer = await run(backend, request, abort.signal);
    assertSoon(performance.now() - abortedAtMs, wholeMs);
    assert.deepEqual([answer.finishReason, answer.completionTokens], ['cancelled', 0]);
    assert.deepEqual((await run(backend, next)).tokenIds, before.tokenIds);
  });

  it('leaves the event loop free for heartbeats', async () => {
    let last = performance.now();
    let longestMs = 0;
    const timer = setInterval(() => {
      longestMs = Math.max(longestMs, performance.now() - last);
      last = performance.now();
    }, 10);
    const request = ask(LONG_TEXT.repeat(4), { maxTokens: 16 });
    const wholeMs = await elapsedMs(() => run(backend, request));
    clearInterval(timer);
    assert.ok(longestMs > 0, 'no timer ran');
    assertSoon(Math.max(longestMs, performance.now() - last), wholeMs);
  });
});

describe('the end of the llama backend', () => {
  it('fills its context to the last token', async () => {
    const backend = await startBackend({ contextTokens: 64 });
    try {
      const request = ask('Tell a long story.', { maxTokens: 1 });
      const maxTokens = 64 - (await run(backend, request)).promptTokens;
      const answer = await run(backend, { ...request, maxTokens });
      assert.equal(answer.promptTokens + answer.completionTokens, 64);
      const more = run(backend, { ...request, maxTokens: maxTokens + 1 });
      await assert.rejects(more, ContextExceededError);
    } finally {
      await backend.close();
    }
  });
});

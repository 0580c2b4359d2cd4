import assert from 'node:assert/strict';
import {
  BackendFailedError,
  ContextExceededError,
  ENGINE_LENGTH_MAX,
  InvalidRequestError,
} from '../../../nodes/backends/backend.ts';
import type { Backend } from '../../../nodes/backends/backend.ts';
import { isWellFormed } from '../../../protocol/canonical.ts';
import { testFeatures } from './feature-suite.ts';
import { ask, fingerprint, LONG_TEXT, MODEL_DIGEST, run } from './support.ts';

/** A backend with SmolLM2 behind it, and what has to be stopped with it. */
export interface Started {
  readonly backend: Backend;
  stop(): Promise<void>;
}

const STORY = 'Tell a long story.';

/** What every backend has to do, called once for each of them. */
export function testBackend(name: string, start: (slots: number) => Promise<Started>): void {
  describe(`${name}: the contract of backends`, () => {
    let started: Started;
    let backend: Backend;
    before(async () => {
      started = await start(3);
      backend = started.backend;
    });
    after(() => started.stop());

    it('describes its model and engine', () => {
      const { contextTokens, digest, id } = backend.model;
      assert.deepEqual([id, digest], ['smollm2-135m', MODEL_DIGEST]);
      assert.ok(contextTokens >= 512, `${contextTokens}`);
      assert.equal(backend.slots, 3);
      assert.match(backend.engine, /^[\x20-\x7e]+$/);
      assert.ok(backend.engine.length <= ENGINE_LENGTH_MAX);
    });

    it('is healthy', () => backend.health());

    it('streams the text piece by piece', async () => {
      const answer = await run(backend, ask(STORY));
      assert.ok(answer.deltas.length > 8, `${answer.deltas.length} deltas`);
      assert.equal(answer.deltas.join(''), answer.text);
      assert.ok(answer.deltas.every((delta) => delta !== ''));
    });

    it('stops at maxTokens, with exactly as many tokens', async () => {
      for (const maxTokens of [1, 16]) {
        const answer = await run(backend, ask(STORY, { maxTokens }));
        assert.deepEqual([answer.finishReason, answer.completionTokens], ['length', maxTokens]);
      }
    });

    it('ends by itself, without the text of the end token', async () => {
      const answer = await run(backend, ask('Say hi.', { maxTokens: 60 }));
      assert.equal(answer.finishReason, 'stop');
      assert.ok(!answer.text.includes('<|'));
    });

    it('counts prompt and answer', async () => {
      const [short, long] = await Promise.all([
        run(backend, ask('Hi', { maxTokens: 3 })),
        run(backend, ask(LONG_TEXT, { maxTokens: 3 })),
      ]);
      assert.ok(short.promptTokens > 10 && long.promptTokens > short.promptTokens + 100);
      for (const { completionTokens, tokenIds } of [short, long]) {
        assert.equal(completionTokens, 3);
        assert.equal(tokenIds?.length ?? completionTokens, completionTokens);
      }
    });

    it('streams emoji whole, wherever the answer is cut', async () => {
      const turn = { user: 'Write 🎉😀🎉😀🎉😀', assistant: '🎉😀🎉😀🎉😀' };
      const messages = [
        { role: 'user', content: turn.user },
        { role: 'assistant', content: turn.assistant },
        { role: 'user', content: turn.user },
      ] as const;
      const full = await run(backend, ask('', { messages, maxTokens: 9 }));
      assert.match(full.text, /[🎉😀]/u);
      for (const maxTokens of [2, 3, 4, 5]) {
        const answer = await run(backend, ask('', { messages, maxTokens }));
        assert.ok(full.text.startsWith(answer.text), JSON.stringify(answer.text));
        assert.equal(answer.completionTokens, maxTokens);
        for (const delta of answer.deltas)
          assert.ok(isWellFormed(delta) && !delta.includes('\uFFFD'), JSON.stringify(delta));
      }
    });

    it('cuts before a stop string and never streams a part of it', async () => {
      const request = ask(STORY, { maxTokens: 24 });
      const whole = await run(backend, request);
      // From the middle of one piece to the middle of a later one, so that it spans tokens.
      const from = whole.deltas.slice(0, 9).join('').length + 2;
      const stop = whole.text.slice(from, from + 7);
      const answer = await run(backend, { ...request, stop: ['not in there', stop] });
      assert.equal(answer.finishReason, 'stop');
      assert.equal(answer.text, whole.text.slice(0, whole.text.indexOf(stop)));
      assert.equal(answer.deltas.join(''), answer.text);
      assert.ok(answer.completionTokens < 24);
      const ids = whole.tokenIds?.slice(0, answer.completionTokens) ?? null;
      assert.deepEqual(answer.tokenIds, ids);
    });

    it('refuses an answer that cannot fit, with both numbers', async () => {
      const { contextTokens } = backend.model;
      const refused = run(backend, ask('Hi', { maxTokens: contextTokens }));
      await assert.rejects(refused, (error) => {
        assert.ok(error instanceof ContextExceededError);
        assert.deepEqual([error.maxTokens, error.contextTokens], [contextTokens, contextTokens]);
        return true;
      });
    });

    it('refuses a prompt that cannot fit, and one that leaves no room', async function () {
      // llama.cpp's server only notices the second once it has filled its context.
      this.timeout(120_000);
      const { contextTokens } = backend.model;
      const refused = run(backend, ask(LONG_TEXT.repeat(Math.ceil(contextTokens / 100))));
      await assert.rejects(refused, ContextExceededError);
      const mostOfIt = LONG_TEXT.repeat(Math.floor(contextTokens / 200));
      const narrow = run(backend, ask(mostOfIt, { maxTokens: Math.floor(contextTokens / 4) }));
      await assert.rejects(narrow, ContextExceededError);
    });

    it('refuses what no backend can run', async () => {
      const changes = [
        { temperature: 3 },
        { stop: [''] },
        { messages: [] },
        { prompt: 'and messages' },
        { messages: [], prompt: '' },
        { logprobs: 21 },
        { logprobs: 0.5 },
      ];
      for (const change of changes)
        await assert.rejects(run(backend, ask('Hi', change)), InvalidRequestError);
    });

    it('passes on what the listener throws, and keeps serving', async () => {
      const request = ask('Say hi.', { maxTokens: 3 });
      const failing = (): never => {
        throw new RangeError('listener');
      };
      for (let round = 0; round <= backend.slots; round += 1) {
        const generation = backend.generate(request, failing, new AbortController().signal);
        await assert.rejects(generation, RangeError);
      }
      assert.equal((await run(backend, request)).completionTokens, 3);
    });

    const sampled = ask('Tell a story.', { temperature: 0.8, maxTokens: 20 });

    it('repeats itself with the same seed, and not with another', async () => {
      const first = await run(backend, sampled);
      assert.deepEqual(fingerprint(await run(backend, sampled)), fingerprint(first));
      const other = await run(backend, { ...sampled, seed: 2 });
      assert.notDeepEqual(fingerprint(other), fingerprint(first));
    });

    it('is greedy at temperature 0 or with a narrow topP, whatever the seed', async () => {
      const greedy = fingerprint(await run(backend, { ...sampled, temperature: 0 }));
      const again = await run(backend, { ...sampled, temperature: 0, seed: 99 });
      assert.deepEqual(fingerprint(again), greedy);
      const narrow = await run(backend, { ...sampled, topP: 1e-6 });
      assert.deepEqual(fingerprint(narrow), greedy);
    });

    it('answers several at once as it does one alone', async () => {
      const requests = [STORY, LONG_TEXT.slice(0, 300), 'Why?'].map((text) =>
        ask(text, { maxTokens: 8 }),
      );
      const alone: unknown[] = [];
      for (const request of requests) alone.push(fingerprint(await run(backend, request)));
      const together = await Promise.all(requests.map((request) => run(backend, request)));
      assert.deepEqual(together.map(fingerprint), alone);
    });
  });

  testFeatures(name, start);
  testSlot(name, start);
}

function testSlot(name: string, start: (slots: number) => Promise<Started>): void {
  describe(`${name}: one slot`, () => {
    let started: Started;
    let backend: Backend;
    before(async () => {
      started = await start(1);
      backend = started.backend;
    });
    after(() => started.stop());

    const next = ask('What is the word? Answer with it alone.', { maxTokens: 12 });

    it('carries nothing over from one request to the next', async () => {
      const before = await run(backend, next);
      await run(backend, ask('The secret word is XYLOPHONE. Remember it!', { maxTokens: 8 }));
      assert.deepEqual(fingerprint(await run(backend, next)), fingerprint(before));
    });

    it('lets requests wait, in order', async () => {
      const order: number[] = [];
      await Promise.all(
        [0, 1, 2].map(async (index) => {
          await run(backend, { ...next, maxTokens: 2 });
          order.push(index);
        }),
      );
      assert.deepEqual(order, [0, 1, 2]);
    });

    it('makes nothing for a request that is aborted already', async () => {
      const answer = await run(backend, next, AbortSignal.abort());
      assert.deepEqual(
        [answer.finishReason, answer.text, answer.completionTokens],
        ['cancelled', '', 0],
      );
    });

    it('lets a request leave while it waits', async () => {
      const abort = new AbortController();
      const running = run(backend, next);
      const waiting = run(backend, next, abort.signal);
      abort.abort();
      assert.equal((await waiting).finishReason, 'cancelled');
      assert.equal((await running).finishReason === 'cancelled', false);
    });

    it('returns what there is after an abort, and is free for the next', async () => {
      const request = ask(STORY, { maxTokens: 400 });
      const abort = new AbortController();
      const deltas: string[] = [];
      const answer = await backend.generate(
        request,
        (delta) => {
          if (deltas.push(delta) === 5) abort.abort();
        },
        abort.signal,
      );
      assert.equal(answer.finishReason, 'cancelled');
      assert.equal(answer.text, deltas.join(''));
      // Soon: what else came is far less than the rest of the story.
      assert.ok(answer.completionTokens < 100, `${answer.completionTokens} tokens`);
      const whole = await run(backend, { ...request, maxTokens: 40 });
      assert.ok(whole.text.startsWith(deltas.slice(0, 5).join('')));
    });

    it('fails all requests when it is closed, and never calls them cancelled', async () => {
      const closing = await start(1);
      const request = ask(STORY, { maxTokens: 200 });
      const running = closing.backend.generate(
        request,
        () => void closing.backend.close(),
        new AbortController().signal,
      );
      const waiting = run(closing.backend, request);
      for (const result of await Promise.allSettled([running, waiting])) {
        assert.equal(result.status, 'rejected');
        assert.ok(result.status === 'rejected' && result.reason instanceof BackendFailedError);
      }
      await assert.rejects(run(closing.backend, request), BackendFailedError);
      await assert.rejects(closing.backend.health(), BackendFailedError);
      await closing.backend.close();
      await closing.stop();
    });
  });
}

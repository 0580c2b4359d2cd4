import assert from 'node:assert/strict';
import { ContextExceededError, type Backend } from '../../../nodes/backends/backend.ts';
import type { Started } from './backend-suite.ts';
import { ask, fingerprint, LONG_TEXT, run } from './support.ts';

const STORY = 'Tell a long story.';

/** What every backend does that says it can do more than chat, called once for each of them. */
export function testFeatures(name: string, start: (slots: number) => Promise<Started>): void {
  describe(`${name}: what it can do besides chat`, () => {
    let started: Started;
    let backend: Backend;
    before(async () => {
      started = await start(1);
      backend = started.backend;
    });
    after(() => started.stop());

    it('can do besides chat what is tested here', () => {
      assert.deepEqual(backend.features, ['completion', 'logprobs']);
    });

    it('goes on with a text as it is, without a chat template', async () => {
      const prompt = 'The capital of France is';
      const request = ask('', { messages: [], prompt, maxTokens: 12 });
      const answer = await run(backend, request);
      assert.match(answer.text, /Paris/);
      // Of a conversation with the same text the template alone has more tokens.
      assert.ok(answer.promptTokens < 8, `${answer.promptTokens}`);
      assert.ok(answer.deltas.length > 4 && answer.deltas.join('') === answer.text);
      const stopped = await run(backend, { ...request, stop: ['Paris'] });
      assert.equal(stopped.text, answer.text.slice(0, answer.text.indexOf('Paris')));
      const long = run(backend, { ...request, prompt: LONG_TEXT.repeat(100) });
      await assert.rejects(long, ContextExceededError);
    });

    for (const kind of ['chat', 'text'] as const)
      it(`tells how likely the tokens of a ${kind} were, and samples as without`, async () => {
        const words = kind === 'chat' ? 'Tell a story of 🎉.' : 'The capital of France is';
        const change = { maxTokens: 12, temperature: 0.9, seed: 5 };
        const request =
          kind === 'chat'
            ? ask(words, change)
            : ask('', { ...change, messages: [], prompt: words });
        const plain = await run(backend, request);
        assert.equal(plain.logprobs, undefined);
        for (const logprobs of [0, 3]) {
          const answer = await run(backend, { ...request, logprobs });
          assert.deepEqual(fingerprint(answer), fingerprint(plain));
          const told = answer.logprobs ?? [];
          assert.ok(told.length > 0 && told.length <= answer.completionTokens);
          const whole = told.map(({ token }) => token).join('');
          if (!whole.includes('\uFFFD')) assert.equal(whole, answer.text);
          for (const { token, logprob, top } of told) {
            assert.ok(logprob <= 0 && Number.isFinite(logprob), `${logprob}`);
            assert.equal(top.length, logprobs);
            const likeliest = top.map((other) => other.logprob);
            assert.deepEqual(
              likeliest,
              likeliest.toSorted((a, b) => b - a),
            );
            const own = top.find((other) => other.token === token);
            if (own) assert.equal(own.logprob, logprob);
            else if (logprobs > 0) assert.ok(logprob <= (likeliest.at(-1) ?? 0));
            const sum = likeliest.reduce((all, each) => all + Math.exp(each), 0);
            assert.ok(sum <= 1.001, `${sum}`);
          }
        }
      });

    it('tells nothing of the tokens of a stop string', async () => {
      const whole = await run(backend, ask(STORY, { logprobs: 0 }));
      const stop = whole.text.slice(10, 16);
      const cut = await run(backend, ask(STORY, { logprobs: 0, stop: [stop] }));
      const told = (cut.logprobs ?? []).length;
      assert.ok(told > 0 && told <= cut.completionTokens && told < (whole.logprobs ?? []).length);
    });

    it('has them in an answer that is cancelled', async () => {
      const request = ask(STORY, { logprobs: 1 });
      const answer = await run(backend, request, AbortSignal.abort());
      assert.deepEqual([answer.finishReason, answer.logprobs], ['cancelled', []]);
    });
  });
}

import assert from 'node:assert/strict';
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';
import { ContextExceededError } from '../../../nodes/backends/backend.ts';
import type { Backend } from '../../../nodes/backends/backend.ts';
import { isWellFormed } from '../../../protocol/canonical.ts';
import { ask, LONG_TEXT, MODEL_DIGEST, MODEL_PATH, run, startBackend } from './support.ts';

/** `<|im_end|>` in SmolLM2's vocabulary. */
const END_TOKEN = 2;

/** Sampling as asked for, with nothing that the library would add by itself. */
const GREEDY = { temperature: 0 };
const WILD = { temperature: 1.5, topP: 0.999, topK: 0, minP: 0, seed: 5 };

/** Ids by the library alone, in a context of its own with other batches. */
async function referenceTokenIds(prompt: string, count: number, options: (typeof GREEDY)[]) {
  const quiet = { logLevel: LlamaLogLevel.disabled, progressLogs: false };
  const llama = await getLlama({ gpu: false, build: 'never', maxThreads: 1, ...quiet });
  try {
    const model = await llama.loadModel({ modelPath: MODEL_PATH });
    const context = await model.createContext({ contextSize: 1024, batchSize: 8, threads: 1 });
    const sequence = context.getSequence();
    const results: number[][] = [];
    for (const sampling of options) {
      const tokenIds: number[] = [];
      const tokens = sequence.evaluate(model.tokenize(prompt, true), sampling);
      for await (const token of tokens) if (tokenIds.push(token) === count) break;
      results.push(tokenIds);
      await sequence.clearHistory();
    }
    return results;
  } finally {
    await llama.dispose();
  }
}

describe('the llama backend', () => {
  let backend: Backend;
  before(async () => {
    backend = await startBackend({ slots: 3, expectedDigest: MODEL_DIGEST });
  });
  after(() => backend.close());

  it('describes its model and engine', () => {
    assert.deepEqual(backend.model, {
      id: 'smollm2-135m',
      digest: MODEL_DIGEST,
      quantisation: 'Q4_1',
      contextTokens: 1024,
    });
    assert.equal(backend.slots, 3);
    assert.match(
      backend.engine,
      /^node-llama-cpp\/3\.22\.1 r1 llama\.cpp\/\S+ prebuilt \S+ cpu CPU:/,
    );
    assert.ok(backend.engine.length <= 200);
  });

  it('samples what llama.cpp does on its own, although it reads the prompt in chunks', async () => {
    const prompt =
      `<|im_start|>system\nAnswer.<|im_end|>\n<|im_start|>user\n${LONG_TEXT}<|im_end|>\n` +
      '<|im_start|>assistant\n';
    const messages = [
      { role: 'system', content: 'Answer.' },
      { role: 'user', content: LONG_TEXT },
    ] as const;
    const [greedy, wild] = await Promise.all([
      run(backend, ask('', { messages, maxTokens: 12, ...GREEDY })),
      run(backend, ask('', { messages, maxTokens: 12, ...WILD })),
    ]);
    assert.ok(greedy.promptTokens > 128, 'needs more than two chunks');
    const expected = await referenceTokenIds(prompt, 12, [GREEDY, WILD]);
    assert.deepEqual([greedy.tokenIds, wild.tokenIds], expected);
  });

  it('stops at maxTokens, with exactly as many tokens', async () => {
    const answer = await run(backend, ask('Tell a long story.'));
    assert.equal(answer.finishReason, 'length');
    assert.equal(answer.completionTokens, 16);
    assert.equal(answer.tokenIds.length, 16);
  });

  it('ends by itself, and hands out the end token but not its text', async () => {
    const answer = await run(backend, ask('Say hi.', { maxTokens: 60 }));
    assert.equal(answer.finishReason, 'stop');
    assert.equal(answer.tokenIds.at(-1), END_TOKEN);
    assert.equal(answer.completionTokens, answer.tokenIds.length);
    assert.ok(!answer.text.includes('<|'));
  });

  it('streams the text piece by piece', async () => {
    const answer = await run(backend, ask('Tell a long story.'));
    assert.ok(answer.deltas.length > 8, `${answer.deltas.length} deltas`);
    assert.equal(answer.deltas.join(''), answer.text);
    assert.ok(answer.deltas.every((delta) => delta !== ''));
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
    const request = ask('Tell a long story.', { maxTokens: 24 });
    const whole = await run(backend, request);
    // From the middle of one piece to the middle of a later one, so that it spans tokens.
    const from = whole.deltas.slice(0, 9).join('').length + 2;
    const stop = whole.text.slice(from, from + 7);
    const answer = await run(backend, { ...request, stop: ['not in there', stop] });
    assert.equal(answer.finishReason, 'stop');
    assert.equal(answer.text, whole.text.slice(0, whole.text.indexOf(stop)));
    assert.equal(answer.deltas.join(''), answer.text);
    assert.ok(answer.completionTokens < 24);
    assert.deepEqual(answer.tokenIds, whole.tokenIds.slice(0, answer.completionTokens));
  });

  it('refuses what cannot fit, with both numbers', async () => {
    const refused = run(backend, ask('Hi', { maxTokens: 1024 }));
    await assert.rejects(refused, (error) => {
      assert.ok(error instanceof ContextExceededError);
      assert.deepEqual([error.maxTokens, error.contextTokens], [1024, 1024]);
      assert.ok(error.promptTokens > 10);
      return true;
    });
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

  const story = ask('Tell a story.', { temperature: 0.8, maxTokens: 20 });

  it('repeats itself with the same seed, and not with another', async () => {
    const first = await run(backend, story);
    assert.deepEqual((await run(backend, story)).tokenIds, first.tokenIds);
    assert.notDeepEqual((await run(backend, { ...story, seed: 2 })).tokenIds, first.tokenIds);
  });

  it('samples the same tokens alone and beside others, also the unlikely ones', async () => {
    // Wild sampling shows differences in the last bits of the probabilities; long prompts are
    // divided otherwise when three of them share the batches.
    const requests = [LONG_TEXT, LONG_TEXT.slice(0, 400), `${LONG_TEXT} Why?`].map((text) =>
      ask(text, { ...WILD, maxTokens: 8 }),
    );
    const alone: (readonly number[])[] = [];
    for (const request of requests) alone.push((await run(backend, request)).tokenIds);
    const together = await Promise.all(requests.map((request) => run(backend, request)));
    assert.deepEqual(
      together.map((answer) => answer.tokenIds),
      alone,
    );
  });

  it('repeats itself with the seed that llama.cpp takes as random', async () => {
    const request = { ...story, seed: 0xffff_ffff };
    const first = await run(backend, request);
    assert.deepEqual((await run(backend, request)).tokenIds, first.tokenIds);
  });

  it('is greedy at temperature 0, whatever the seed', async () => {
    const request = { ...story, temperature: 0 };
    const first = await run(backend, request);
    assert.deepEqual((await run(backend, { ...request, seed: 99 })).tokenIds, first.tokenIds);
  });

  it('is greedy when topP leaves only the likeliest token', async () => {
    const greedy = await run(backend, { ...story, temperature: 0 });
    const narrow = await run(backend, { ...story, topP: 1e-6 });
    assert.deepEqual(narrow.tokenIds, greedy.tokenIds);
  });
});

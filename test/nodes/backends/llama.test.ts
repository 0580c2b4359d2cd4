import assert from 'node:assert/strict';
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';
import type { Backend, Generation } from '../../../nodes/backends/backend.ts';
import { testBackend } from './backend-suite.ts';
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

testBackend('llama', async (slots) => {
  const backend = await startBackend({ slots });
  return { backend, stop: () => backend.close() };
});

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
    // Another instruction set gives other tokens, so two of them must not have one name.
    assert.match(backend.engine, / CPU:\S*\b(SSE3|NEON)\b/);
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

  it('ends by itself, and hands out the end token but not its text', async () => {
    const answer = await run(backend, ask('Say hi.', { maxTokens: 60 }));
    assert.equal(answer.finishReason, 'stop');
    assert.equal(answer.tokenIds?.at(-1), END_TOKEN);
    assert.equal(answer.completionTokens, answer.tokenIds?.length);
    assert.ok(!answer.text.includes('<|'));
  });

  const story = ask('Tell a story.', { temperature: 0.8, maxTokens: 20 });

  it('samples the same tokens alone and beside others, also the unlikely ones', async () => {
    // Wild sampling shows differences in the last bits of the probabilities; long prompts are
    // divided otherwise when three of them share the batches.
    const requests = [LONG_TEXT, LONG_TEXT.slice(0, 400), `${LONG_TEXT} Why?`].map((text) =>
      ask(text, { ...WILD, maxTokens: 8 }),
    );
    const alone: Generation['tokenIds'][] = [];
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
});

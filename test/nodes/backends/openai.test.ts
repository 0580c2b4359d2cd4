import assert from 'node:assert/strict';
import type { Backend } from '../../../nodes/backends/backend.ts';
import { createOpenAiBackend } from '../../../nodes/backends/openai.ts';
import { startOpenAiServer, type OpenAiServer } from '../../support/openai-server.ts';
import { testBackend } from './backend-suite.ts';
import { ask, MODEL_DIGEST, run, startBackend } from './support.ts';

/** A server that is running already, with three slots of at least 1,024 tokens; by hand only. */
const OTHER_URL = process.env['PLX_TEST_OPENAI_URL'];
const OTHER_MODEL = process.env['PLX_TEST_OPENAI_MODEL'] ?? 'smollm2-135m';

const model = { id: 'smollm2-135m', digest: MODEL_DIGEST, serverId: 'smollm2-135m' } as const;

testBackend('openai', async (slots) => {
  const engine = await startBackend({ slots });
  const server = await startOpenAiServer(engine);
  const backend = await createOpenAiBackend({ url: server.url, model, slots });
  return {
    backend,
    async stop() {
      await backend.close();
      await server.stop();
      await engine.close();
    },
  };
});

if (OTHER_URL !== undefined)
  testBackend(`openai (${OTHER_URL})`, async (slots) => {
    const served = { ...model, serverId: OTHER_MODEL };
    const backend = await createOpenAiBackend({ url: OTHER_URL, model: served, slots });
    return { backend, stop: () => backend.close() };
  });

describe('the openai backend on a real engine', () => {
  let engine: Backend;
  let server: OpenAiServer;
  let backend: Backend;
  before(async () => {
    engine = await startBackend();
    server = await startOpenAiServer(engine);
    backend = await createOpenAiBackend({ url: server.url, model, slots: 1 });
  });
  after(async () => {
    await backend.close();
    await server.stop();
    await engine.close();
  });

  it('gives the text and the counts of the engine, without token ids', async () => {
    for (const change of [{}, { stop: [' the'] }, { temperature: 0.9, topP: 0.8, seed: 7 }]) {
      const request = ask('Tell a long story.', { maxTokens: 24, ...change });
      const expected = await run(engine, request);
      const answer = await run(backend, request);
      assert.deepEqual(answer, { ...expected, tokenIds: null });
    }
  });

  it('closes the connection when it is aborted, and when the listener throws', async () => {
    const request = ask('Tell a long story.', { maxTokens: 800 });
    const abort = new AbortController();
    await backend.generate(request, () => abort.abort(), abort.signal);
    const failing = () => {
      throw new RangeError('listener');
    };
    const failed = backend.generate(request, failing, new AbortController().signal);
    await assert.rejects(failed, RangeError);
    // The engine has one slot: it serves again because the server stopped both.
    assert.equal((await run(backend, ask('Say hi.', { maxTokens: 2 }))).completionTokens, 2);
    const reasons = server.exchanges.slice(-3).map(({ finishReason }) => finishReason);
    assert.deepEqual(reasons, ['cancelled', 'cancelled', 'length']);
  });
});

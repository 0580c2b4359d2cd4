import assert from 'node:assert/strict';
import {
  BackendFailedError,
  ContextExceededError,
  InvalidRequestError,
  type Backend,
} from '../../../nodes/backends/backend.ts';
import { createOpenAiBackend } from '../../../nodes/backends/openai.ts';
import { isWellFormed } from '../../../protocol/canonical.ts';
import { INSTANT_MODEL, instantBackend } from '../../../bench/instant-backend.ts';
import { honest, startOpenAiServer, type OpenAiServer } from '../../support/openai-server.ts';
import { STREAM_FAULTS } from '../../support/openai-faults.ts';
import { QUIRKS } from '../../support/openai-quirks.ts';
import { REFUSALS } from '../../support/openai-refusals.ts';
import { ask, run } from './support.ts';

const STALL_MS = 300;
/** Must never be quoted: what the caller says, what the model says, and the key. */
const PROMPT = 'prompt-secret one two three';
const SECRET = /secret|three|key-0123456789/;

describe('the openai backend and servers that do otherwise', () => {
  let server: OpenAiServer;
  let backend: Backend;
  before(async () => {
    server = await startOpenAiServer(instantBackend());
    backend = await createOpenAiBackend({
      url: server.url,
      apiKey: 'key-0123456789',
      model: { id: 'instant', digest: INSTANT_MODEL.digest, serverId: INSTANT_MODEL.id },
      slots: 1,
      stallMs: STALL_MS,
    });
  });
  after(async () => {
    await backend.close();
    await server.stop();
  });
  afterEach(async () => {
    // Whatever happened, the slot is free and the next request is served.
    server.serve = honest;
    const answer = await run(backend, ask(PROMPT));
    assert.deepEqual([answer.text, answer.finishReason], [PROMPT, 'stop']);
  });

  const types = {
    failed: BackendFailedError,
    invalid: InvalidRequestError,
    context: ContextExceededError,
  };
  for (const { name, error, message, request, serve } of [...STREAM_FAULTS, ...REFUSALS])
    it(`fails when a server ${name}`, async () => {
      server.serve = serve;
      const failing = run(backend, ask(PROMPT, request));
      await assert.rejects(failing, (thrown) => {
        assert.ok(thrown instanceof types[error], String(thrown));
        assert.match(thrown.message, message);
        const told = `${thrown.message} ${thrown.stack} ${JSON.stringify(thrown.cause)}`;
        assert.doesNotMatch(told.replaceAll(/^ +at .*$/gm, ''), SECRET);
        return true;
      });
    });

  for (const { name, answer, request, serve } of QUIRKS)
    it(`takes it that a server ${name}`, async () => {
      server.serve = serve;
      const { text, finishReason, deltas, completionTokens } = await run(
        backend,
        ask(PROMPT, request),
      );
      assert.deepEqual([text, finishReason, completionTokens], answer);
      assert.equal(deltas.join(''), text);
      assert.ok(deltas.every((delta) => delta !== '' && isWellFormed(delta)));
    });

  it('asks for exactly what the request says', async () => {
    const sampling = { temperature: 0.3, topP: 0.9, seed: 4_294_967_295, stop: ['x'] };
    await run(backend, ask(PROMPT, { ...sampling, maxTokens: 5 }));
    assert.deepEqual(server.exchanges.at(-1)?.body, {
      model: 'instant',
      messages: [{ role: 'user', content: PROMPT }],
      max_tokens: 5,
      temperature: 0.3,
      top_p: 0.9,
      seed: 4_294_967_295,
      n: 1,
      stop: ['x'],
      stream: true,
      stream_options: { include_usage: true },
      // vLLM would take these from the model's own configuration.
      top_k: -1,
      min_p: 0,
      repetition_penalty: 1,
    });
    const { authorization, connection } = server.headers.at(-1) ?? {};
    assert.deepEqual([authorization, connection], ['Bearer key-0123456789', 'close']);
  });

  it('returns what there is when it is aborted while a server says nothing', async () => {
    const abort = new AbortController();
    server.serve = (exchange) => {
      exchange.start();
      exchange.delta({ content: 'one ' });
      exchange.delta({ content: 'tw\ud83d' });
    };
    const deltas: string[] = [];
    const generation = backend.generate(
      ask(PROMPT),
      (delta) => {
        if (deltas.push(delta) === 2) abort.abort();
      },
      abort.signal,
    );
    const { finishReason, text, tokenIds } = await generation;
    assert.deepEqual([finishReason, text, tokenIds], ['cancelled', 'one tw', null]);
  });
});

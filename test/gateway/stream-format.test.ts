import assert from 'node:assert/strict';
import { chatFormat, chunkOf, formatOf, usageChunk } from '../../gateway/stream-format.ts';
import type { RequestParameters } from '../../protocol/receive.ts';
import { emptyStreamDigest, type InferenceResult } from '../../protocol/result.ts';

const head = { id: 'req_1', created: 1_764_000_000, model: 'oss-chat-v1' };
const result: InferenceResult = {
  v: 1,
  modelDigest: `sha256:${'b1'.repeat(32)}`,
  engine: 'node-llama-cpp/3.22.1',
  seed: 7,
  choices: [{ text: 'Hello', tokenIds: [1, 2], finishReason: 'length' }],
  usage: { promptTokens: 10, completionTokens: 2 },
  streamDigest: emptyStreamDigest,
};
const parameters: RequestParameters = {
  workloadClass: 'ai.inference',
  model: 'oss-chat-v1',
  hardwareTier: 1,
  priority: 'standard',
  deadlineSeconds: 120,
  maxTokens: 2,
  stream: true,
  seed: null,
};

const stop = { finishReason: 'stop' } as const;

describe('gateway/stream-format', () => {
  it('makes chat chunks: text with an open end, and an end without text', () => {
    const shape = (delta: object, finishReason: string | null, index = 0) => ({
      ...head,
      object: 'chat.completion.chunk',
      choices: [{ index, delta, logprobs: null, finish_reason: finishReason }],
    });
    const made = (choice: object) => chunkOf(head, chatFormat, [choice]);
    assert.deepEqual(made(chatFormat.text(0, 'Hel', false)), shape({ content: 'Hel' }, null));
    const second = { role: 'assistant', content: 'Hel' };
    assert.deepEqual(made(chatFormat.text(1, 'Hel', true)), shape(second, null, 1));
    assert.deepEqual(made(chatFormat.end(0, stop, false)), shape({}, 'stop'));
    const empty = { role: 'assistant', content: '' };
    assert.deepEqual(made(chatFormat.end(1, stop, true)), shape(empty, 'stop', 1));
  });

  it('makes a chunk with usage and no choice', () => {
    const usage = { prompt_tokens: 10, completion_tokens: 2, total_tokens: 12 };
    const expected = { ...head, object: 'chat.completion.chunk', choices: [], usage };
    assert.deepEqual(usageChunk(head, chatFormat, result), expected);
  });

  it('words chunks as the route does that the request was made by', () => {
    assert.equal(formatOf(parameters), chatFormat);
    assert.equal(formatOf({ ...parameters, features: ['choices'], choices: 2 }), chatFormat);
    const format = formatOf({ ...parameters, features: ['completion'] });
    assert.equal(format.object, 'text_completion');
    const [open, closed] = [format.text(0, 'Hel', false), format.end(0, stop, false)];
    assert.deepEqual(open, { index: 0, text: 'Hel', logprobs: null, finish_reason: null });
    assert.deepEqual(closed, { index: 0, text: '', logprobs: null, finish_reason: 'stop' });
  });
});

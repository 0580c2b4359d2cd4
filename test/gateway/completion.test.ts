import assert from 'node:assert/strict';
import { completion } from '../../gateway/completion.ts';
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
const usage = { prompt_tokens: 10, completion_tokens: 2, total_tokens: 12 };

describe('gateway/completion', () => {
  it('makes a chat.completion of a result', () => {
    assert.deepEqual(completion(head, result), {
      ...head,
      object: 'chat.completion',
      system_fingerprint: 'node-llama-cpp/3.22.1',
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: 'Hello', refusal: null },
          logprobs: null,
          finish_reason: 'length',
        },
      ],
      usage,
    });
  });
});

import assert from 'node:assert/strict';
import { completion, textCompletion } from '../../gateway/completion.ts';
import { chatFormat, textFormat } from '../../gateway/stream-format.ts';
import { emptyStreamDigest, type InferenceResult } from '../../protocol/result.ts';

const head = { id: 'req_1', created: 1_764_000_000, model: 'oss-chat-v1' };
const [first, second] = [
  { text: 'Hello', tokenIds: [1, 2], finishReason: 'length' as const },
  {
    text: 'Hé🙂',
    tokenIds: [3, 4],
    finishReason: 'stop' as const,
    logprobs: [
      { token: 'Hé', logprob: -0.25, top: [{ token: 'Hé', logprob: -0.25 }] },
      { token: '\uFFFD', bytes: [240, 159], logprob: -2, top: [{ token: '\uFFFD', logprob: -2 }] },
    ],
  },
];
const result: InferenceResult = {
  v: 1,
  modelDigest: `sha256:${'b1'.repeat(32)}`,
  engine: 'node-llama-cpp/3.22.1',
  seed: 7,
  choices: [first],
  usage: { promptTokens: 10, completionTokens: 2 },
  streamDigest: emptyStreamDigest,
};
const usage = { prompt_tokens: 10, completion_tokens: 2, total_tokens: 12 };

/** As OpenAI's chats have it. */
const told = {
  content: [
    {
      token: 'Hé',
      logprob: -0.25,
      bytes: [72, 195, 169],
      top_logprobs: [{ token: 'Hé', logprob: -0.25, bytes: [72, 195, 169] }],
    },
    {
      token: '\uFFFD',
      logprob: -2,
      bytes: [240, 159],
      // What it is a part of isn't known.
      top_logprobs: [{ token: '\uFFFD', logprob: -2, bytes: null }],
    },
  ],
  refusal: null,
};

describe('gateway/completion chats', () => {
  const choiceOf = (index: number, content: string, logprobs: object | null, end: string) => ({
    index,
    message: { role: 'assistant', content, refusal: null },
    logprobs,
    finish_reason: end,
  });

  it('makes a chat.completion of a result', () => {
    assert.deepEqual(completion(head, result), {
      ...head,
      object: 'chat.completion',
      system_fingerprint: 'node-llama-cpp/3.22.1',
      choices: [choiceOf(0, 'Hello', null, 'length')],
      usage,
    });
  });

  it('has all choices in their order, with what is told of their tokens', () => {
    const { choices } = completion(head, { ...result, choices: [first, second] });
    const expected = [choiceOf(0, 'Hello', null, 'length'), choiceOf(1, 'Hé🙂', told, 'stop')];
    assert.deepEqual(choices, expected);
  });

  it('ends a stream with them', () => {
    const end = (logprobs: object | null, end: string) => ({
      index: 1,
      delta: {},
      logprobs,
      finish_reason: end,
    });
    assert.deepEqual(chatFormat.end(1, second, false), end(told, 'stop'));
    assert.deepEqual(chatFormat.end(1, first, false), end(null, 'length'));
  });
});

describe('gateway/completion texts', () => {
  const logprobs = {
    tokens: ['Hé', '\uFFFD'],
    token_logprobs: [-0.25, -2],
    top_logprobs: [{ Hé: -0.25 }, { '\uFFFD': -2 }],
    text_offset: [0, 2],
  };

  it('makes a text_completion of a result', () => {
    assert.deepEqual(textCompletion(head, { ...result, choices: [first, second] }), {
      ...head,
      object: 'text_completion',
      system_fingerprint: 'node-llama-cpp/3.22.1',
      choices: [
        { index: 0, text: 'Hello', logprobs: null, finish_reason: 'length' },
        { index: 1, text: 'Hé🙂', logprobs, finish_reason: 'stop' },
      ],
      usage,
    });
  });

  it('ends a stream with them', () => {
    const expected = { index: 1, text: '', logprobs, finish_reason: 'stop' };
    assert.deepEqual(textFormat.end(1, second, false), expected);
  });

  it('keeps a token whose text is the name of a prototype', () => {
    const top = [{ token: '__proto__', logprob: -1 }];
    const odd = { ...second, logprobs: [{ token: '__proto__', logprob: -1, top }] };
    const view = JSON.stringify(textFormat.end(0, odd, false));
    assert.ok(view.includes('{"__proto__":-1}'), view);
  });
});

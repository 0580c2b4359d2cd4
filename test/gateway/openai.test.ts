import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { completion } from '../../gateway/completion.ts';
import { MalformedRequestError } from '../../gateway/errors.ts';
import { deliveryOf, extrasOf, maxTokensOf } from '../../gateway/inference-request.ts';
import { chatPayload, parseChatRequest } from '../../gateway/openai.ts';
import type { InferenceResult } from '../../protocol/result.ts';

const body = { model: 'oss-chat-v1', messages: [{ role: 'user', content: 'Hi' }] };

function malformed(changed: object): MalformedRequestError {
  try {
    parseChatRequest({ ...body, ...changed });
  } catch (error) {
    assert.ok(error instanceof MalformedRequestError, String(error));
    assert.equal(error.code, 'receive.malformed_request');
    return error;
  }
  return assert.fail(`accepted: ${JSON.stringify(changed)}`);
}

describe('gateway/openai parseChatRequest', () => {
  it('gives the lifecycle parameters their defaults', () => {
    assert.deepEqual(parseChatRequest(body), {
      ...body,
      workload_class: 'ai.inference',
      hardware_tier: 1,
      priority: 'standard',
      deadline_seconds: 120,
    });
  });

  const good: [string, object][] = [
    ['streaming with usage', { stream: true, stream_options: { include_usage: true } }],
    ['the bounds of sampling', { temperature: 2, top_p: 1, seed: 0xffff_ffff }],
    ['greedy sampling', { temperature: 0, top_p: 0.001, seed: 0 }],
    ['a stop string', { stop: 'END' }],
    ['four stop strings', { stop: ['a', 'b', 'c', 'd'] }],
    ['no stop strings', { stop: [] }],
    ['both names of the token bound', { max_tokens: 1, max_completion_tokens: 8_192 }],
    ['one choice', { n: 1 }],
    ['sixteen choices', { n: 16 }],
    ['log probabilities', { logprobs: true }],
    ['log probabilities of twenty alternatives', { logprobs: true, top_logprobs: 20 }],
    ['no log probabilities', { logprobs: false, top_logprobs: 0 }],
    ['what only informs', { user: 'u', metadata: { trace: '1' }, store: false }],
    [
      'null for optional fields, as some clients send it',
      { stream: null, max_tokens: null, temperature: null, top_p: null, seed: null, stop: null },
    ],
    ['a stream that comes early', { stream: true, delivery: 'early' }],
    [
      'a stream that says how it was checked',
      {
        stream: true,
        delivery: 'strict',
        stream_options: { include_verification: true },
      },
    ],
    ['an answer that comes once all checks are done', { delivery: 'strict' }],
    [
      'the parameters of the lifecycle',
      { hardware_tier: 5, priority: 'urgent', deadline_seconds: 86_400, workload_class: 'x' },
    ],
  ];
  for (const [what, fields] of good)
    it(`accepts ${what}`, () => {
      const parsed = Object.entries(parseChatRequest({ ...body, ...fields }));
      for (const [name, value] of Object.entries(fields))
        assert.deepEqual(Object.fromEntries(parsed)[name], value, name);
    });

  const bad: [string, unknown][] = [
    ['model', ''],
    ['model', undefined],
    ['model', 7],
    ['messages', []],
    ['messages', undefined],
    ['messages', 'Hi'],
    ['stream', 'true'],
    ['max_tokens', 0],
    ['max_tokens', 8_193],
    ['max_completion_tokens', 1.5],
    ['temperature', -0.1],
    ['temperature', 2.1],
    ['top_p', 0],
    ['top_p', 1.1],
    ['seed', -1],
    ['seed', 0x1_0000_0000],
    ['stop', ''],
    ['stop', ['a', 'b', 'c', 'd', 'e']],
    ['stop', 'x'.repeat(513)],
    ['n', 0],
    ['n', 17],
    ['n', 1.5],
    ['logprobs', 1],
    ['top_logprobs', 21],
    // Without logprobs: true.
    ['top_logprobs', 1],
    ['store', true],
    ['hardware_tier', 0],
    ['hardware_tier', 6],
    ['priority', 'low'],
    ['delivery', 'late'],
    // It is for streams: there is nothing to show of an answer that comes whole.
    ['delivery', 'early'],
    ['deadline_seconds', 0],
    ['deadline_seconds', 86_401],
  ];
  for (const [name, value] of bad)
    it(`names ${name} when it is ${inspect(value).slice(0, 30)}`, () => {
      const error = malformed({ [name]: value });
      assert.equal(error.param, name);
      assert.ok(error.message.includes(`${name}: `), error.message);
    });

  it('says how a request was checked on streams only', () => {
    const error = malformed({ stream_options: { include_verification: true } });
    assert.equal(error.param, 'stream_options.include_verification');
  });

  it('refuses an option of a stream that it would ignore', () => {
    const error = malformed({ stream: true, stream_options: { include_verificatio: true } });
    assert.equal(error.param, 'stream_options.include_verificatio');
    assert.match(error.message, /stream_options\.include_verificatio: unsupported$/);
  });

  it('delivers early on a stream, and otherwise once the proof was checked', () => {
    const delivery = (fields: object) => deliveryOf(parseChatRequest({ ...body, ...fields }));
    assert.deepEqual(
      [delivery({}), delivery({ stream: true }), delivery({ stream: false, delivery: null })],
      ['validated', 'early', 'validated'],
    );
    assert.equal(delivery({ stream: true, delivery: 'validated' }), 'validated');
    // What comes whole can't come early.
    assert.equal(delivery({ stream: true, n: 2 }), 'validated');
    assert.equal(delivery({ stream: true, logprobs: true }), 'validated');
  });

  it('refuses to deliver early what comes whole', () => {
    for (const fields of [{ n: 2 }, { logprobs: true }])
      for (const name of ['delivery', 'verification'])
        assert.equal(malformed({ stream: true, [name]: 'early', ...fields }).param, name);
  });

  it('bounds what all choices have together', () => {
    parseChatRequest({ ...body, n: 16, max_tokens: 512 });
    assert.equal(malformed({ n: 16, max_tokens: 513 }).param, 'n');
    parseChatRequest({ ...body, logprobs: true, top_logprobs: 7, max_tokens: 2_048 });
    const much = { logprobs: true, top_logprobs: 8, max_tokens: 2_048 };
    assert.equal(malformed(much).param, 'logprobs');
    assert.equal(malformed({ ...much, top_logprobs: 3, n: 4 }).param, 'logprobs');
  });

  it('says beside the seal what the node has to be able to do, and nothing of a plain chat', () => {
    const extras = (fields: object) => extrasOf(parseChatRequest({ ...body, ...fields }));
    assert.deepEqual(extras({ n: 1, logprobs: false }), {});
    assert.deepEqual(extras({ n: 2, logprobs: true }), {
      choices: 2,
      features: ['choices', 'logprobs'],
    });
    const payload = (fields: object) => chatPayload(parseChatRequest({ ...body, ...fields }));
    assert.equal('logprobs' in payload({}), false);
    assert.equal(payload({ logprobs: true }).logprobs, 0);
    assert.equal(payload({ logprobs: true, top_logprobs: 3 }).logprobs, 3);
  });

  const badMessages: [string, string, unknown][] = [
    ['an unknown role', 'messages.0.role', { role: 'tool', content: 'x' }],
    ['no content', 'messages.0.content', { role: 'assistant', content: null }],
    // They would change the prompt.
    ['the name of a speaker', 'messages.0.name', { role: 'user', content: 'x', name: 'Ann' }],
    ['a refusal', 'messages.0.refusal', { role: 'assistant', content: '', refusal: 'No.' }],
    ['a refusal of a user', 'messages.0.refusal', { role: 'user', content: '', refusal: null }],
    ['calls of tools', 'messages.0.tool_calls', { role: 'assistant', content: '', tool_calls: [] }],
    [
      'annotations',
      'messages.0.annotations',
      { role: 'assistant', content: '', annotations: [{ type: 'url_citation' }] },
    ],
    [
      'a part that says more than its text',
      'messages.0.content.1.cache_control',
      {
        role: 'user',
        content: [
          { type: 'text', text: 'x' },
          { type: 'text', text: 'y', cache_control: {} },
        ],
      },
    ],
    [
      'an image, which is not served',
      'messages.0.content',
      { role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:,' } }] },
    ],
  ];
  for (const [what, param, message] of badMessages)
    it(`names the message with ${what}`, () => {
      assert.equal(malformed({ messages: [message] }).param, param);
    });

  it('takes its own answer back, whatever SDKs have made of what it lacks', () => {
    const content = 'Hello.';
    const asDumped = { annotations: null, audio: null, function_call: null, tool_calls: null };
    const first = completion({ id: 'req_1', created: 0, model: body.model }, {
      choices: [{ text: content, finishReason: 'stop' }],
      usage: { promptTokens: 1, completionTokens: 1 },
      engine: 'e',
    } as unknown as InferenceResult).choices[0]?.message;
    for (const more of [{}, asDumped, { annotations: [] }, { parsed: null }]) {
      const messages = [...body.messages, { ...first, ...more }];
      const parsed = parseChatRequest({ ...body, messages });
      assert.deepEqual(parsed.messages.at(-1), { role: 'assistant', content });
    }
  });

  it('names the wrong one of several messages', () => {
    const messages = [...body.messages, { role: 'user', content: 7 }];
    assert.equal(malformed({ messages }).param, 'messages.1.content');
  });

  const unsupported = {
    tools: [],
    tool_choice: 'auto',
    response_format: { type: 'json_object' },
    frequency_penalty: 0.5,
    presence_penalty: 0.5,
    logit_bias: {},
    audio: {},
    temprature: 1,
  };
  for (const [name, value] of Object.entries(unsupported))
    it(`refuses ${name} rather than ignoring it`, () => {
      const error = malformed({ [name]: value });
      assert.ok(error.message.endsWith(`${name}: unsupported`), error.message);
    });

  it('refuses what is no object', () => {
    for (const value of [undefined, null, 'text', 7, []])
      assert.throws(() => parseChatRequest(value), MalformedRequestError);
  });

  it('never repeats what the caller wrote in a message', () => {
    const messages = [{ role: 'my secret', content: { my: 'secret' } }];
    assert.ok(!malformed({ messages, model: ['secret'] }).message.includes('secret'));
  });
});

describe('gateway/openai payload', () => {
  it('holds what the node needs, with defaults, and nothing else', () => {
    assert.deepEqual(chatPayload(parseChatRequest({ ...body, user: 'u', seed: 7 })), {
      messages: [{ role: 'user', content: 'Hi' }],
      temperature: 1,
      topP: 1,
      stop: [],
    });
  });

  it('keeps zero, and makes one stop string a list', () => {
    const request = parseChatRequest({ ...body, temperature: 0, top_p: 0.5, stop: 'END' });
    const { temperature, topP, stop } = chatPayload(request);
    assert.deepEqual({ temperature, topP, stop }, { temperature: 0, topP: 0.5, stop: ['END'] });
  });

  it('joins text parts, and reads developer as system', () => {
    const parts = ['One ', 'two.'].map((text) => ({ type: 'text', text }));
    const messages = [
      { role: 'developer', content: 'Be brief.' },
      { role: 'user', content: parts },
      { role: 'assistant', content: '' },
    ];
    assert.deepEqual(chatPayload(parseChatRequest({ ...body, messages })).messages, [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'One two.' },
      { role: 'assistant', content: '' },
    ]);
  });

  it('bounds the output by the newer name, the older, or the default', () => {
    const bound = (fields: object) => maxTokensOf(parseChatRequest({ ...body, ...fields }));
    assert.equal(bound({ max_tokens: 5, max_completion_tokens: 6 }), 6);
    assert.equal(bound({ max_tokens: 5 }), 5);
    assert.equal(bound({}), 256);
  });
});

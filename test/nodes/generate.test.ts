import assert from 'node:assert/strict';
import { instantBackend } from '../../bench/instant-backend.ts';
import {
  BackendFailedError,
  InvalidRequestError,
  type Backend,
} from '../../nodes/backends/backend.ts';
import { generateChoices, outcomeOf } from '../../nodes/generate.ts';
import { parsePayload } from '../../nodes/payload.ts';
import { canonicalBytes } from '../../protocol/canonical.ts';
import type { RequestParameters } from '../../protocol/receive.ts';
import { parameters as plain } from '../crypto/fixtures.ts';

const sampling = { temperature: 1, topP: 1, stop: [] };
const chat = { messages: [{ role: 'user', content: 'a b c d' }], ...sampling };
const text = { prompt: 'a b c d', ...sampling };

/** Each answer has as many words as its seed says. */
const backend = instantBackend({
  answer: ({ seed }) => Array.from({ length: seed % 10 }, () => 'x '),
});

interface Asked {
  readonly payload?: object;
  readonly parameters?: Partial<RequestParameters>;
  readonly seed?: number;
  readonly signal?: AbortSignal;
  readonly on?: Backend;
}

async function generate({ payload = chat, parameters, seed = 2, signal, on = backend }: Asked) {
  const heard: string[] = [];
  const work = {
    payload: parsePayload(canonicalBytes(payload)),
    parameters: { ...plain, maxTokens: 4, ...parameters },
    seed,
  };
  const live = signal ?? new AbortController().signal;
  const made = await generateChoices(on, work, (delta) => heard.push(delta), live);
  return { made, heard };
}

const three = { choices: 3, features: ['choices'] } as const;

describe('nodes/generate', () => {
  it('streams the one choice of a plain chat', async () => {
    const { made, heard } = await generate({});
    assert.deepEqual([made.length, made[0]?.text, heard.join('')], [1, 'x x ', 'x x ']);
  });

  it('draws each choice by a seed of its own, up to its own bound, and streams none', async () => {
    const { made, heard } = await generate({ parameters: three, seed: 3 });
    const ends = made.map(({ completionTokens, finishReason }) => [completionTokens, finishReason]);
    assert.deepEqual(ends, [
      [3, 'stop'],
      [4, 'length'],
      [4, 'length'],
    ]);
    assert.deepEqual(heard, []);
    const { choices, usage } = outcomeOf(made);
    assert.equal(choices.length, 3);
    assert.deepEqual(usage, { promptTokens: 1, completionTokens: 11 });
  });

  it('has every choice in its place when it is cancelled', async () => {
    const { made } = await generate({ parameters: three, signal: AbortSignal.abort() });
    assert.deepEqual(
      made.map(({ finishReason }) => finishReason),
      ['cancelled', 'cancelled', 'cancelled'],
    );
  });

  it('hands on log probabilities, and takes no answer without them', async () => {
    const asked = { payload: { ...text, logprobs: 1 } };
    const parameters = { features: ['completion', 'logprobs'] } as const;
    const { made } = await generate({ ...asked, parameters });
    assert.equal(outcomeOf(made).choices[0]?.logprobs?.length, 2);
    const silent: Backend = {
      ...backend,
      async generate(...call) {
        const { logprobs: _logprobs, ...generation } = await backend.generate(...call);
        return generation;
      },
    };
    await assert.rejects(generate({ ...asked, parameters, on: silent }), BackendFailedError);
  });

  const bare: Backend = { ...backend, features: [] };
  const refused: [string, Asked][] = [
    ['a prompt that was not said beside the seal', { payload: text }],
    ['a prompt that was said and is none', { parameters: { features: ['completion'] } }],
    ['log probabilities that were not said', { payload: { ...chat, logprobs: 0 } }],
    ['choices that were not said', { parameters: { choices: 2 } }],
    [
      'a prompt on a backend that takes none',
      { payload: text, parameters: { features: ['completion'] }, on: bare },
    ],
    [
      'log probabilities of a backend that tells none',
      { payload: { ...chat, logprobs: 0 }, parameters: { features: ['logprobs'] }, on: bare },
    ],
    [
      'more log probabilities than a result holds',
      {
        payload: { ...chat, logprobs: 20 },
        parameters: { features: ['logprobs'], maxTokens: 1_024 },
      },
    ],
  ];
  for (const [what, asked] of refused)
    it(`refuses ${what}`, () => assert.rejects(generate(asked), InvalidRequestError));

  it('refuses payloads of another shape, and quotes none of it', () => {
    for (const payload of [
      { ...chat, ...text },
      sampling,
      { ...text, prompt: '' },
      { ...chat, logprobs: 21 },
      { ...chat, secret: 'my secret' },
    ])
      assert.throws(
        () => parsePayload(canonicalBytes(payload)),
        (error: Error) => !error.message.includes('secret'),
      );
  });
});

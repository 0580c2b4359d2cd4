import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import {
  emptyStreamDigest,
  extendStreamDigest,
  RESULT_BYTES_MAX,
  resultBytes,
  TOP_LOGPROBS_MAX,
  type InferenceResult,
} from '../../protocol/result.ts';
import {
  checkResult,
  checkStream,
  checkTimes,
  returnBytesMax,
  type Expectation,
  type Relayed,
} from '../../protocol/validate.ts';
import { parameters } from '../crypto/fixtures.ts';

const expected: Expectation = {
  parameters: { ...parameters, maxTokens: 3 },
  modelDigest: `sha256:${'b1'.repeat(32)}`,
  seed: 7,
  payloadBytes: 100,
};
const deltas = ['na', 'ïve', ' 🙂'];
const text = deltas.join('');
const choice = { text, tokenIds: [1, 2], finishReason: 'stop' as const };
const usage = { promptTokens: 10, completionTokens: 2 };
const result: InferenceResult = {
  v: 1,
  modelDigest: expected.modelDigest,
  engine: 'node-llama-cpp/3.22.1',
  seed: 7,
  choices: [choice],
  usage,
  streamDigest: deltas.reduce(extendStreamDigest, emptyStreamDigest),
};
const atTheBound: InferenceResult = {
  ...result,
  choices: [{ text, tokenIds: [1, 2, 3], finishReason: 'length' }],
  usage: { promptTokens: 356, completionTokens: 3 },
};

function relayed(sent: readonly string[], ended: boolean): Relayed {
  const streamDigest = sent.reduce(extendStreamDigest, emptyStreamDigest);
  return { text: sent.join(''), streamDigest, ended, deltaFrames: sent.length };
}

describe('protocol/validate checkResult', () => {
  it('accepts what was asked for, to its bounds', () => {
    assert.equal(checkResult(result, expected), null);
    assert.equal(checkResult(atTheBound, expected), null);
    const { tokenIds: _tokenIds, ...withoutIds } = choice;
    assert.equal(checkResult({ ...result, choices: [withoutIds] }, expected), null);
  });

  const broken: [string, InferenceResult][] = [
    ['no choice', { ...result, choices: [] }],
    ['a second choice', { ...result, choices: [choice, choice] }],
    ['another model', { ...result, modelDigest: `sha256:${'b2'.repeat(32)}` }],
    ['another seed', { ...result, seed: 8 }],
    [
      'more output than was paid for',
      {
        ...result,
        choices: [{ text, tokenIds: [1, 2, 3, 4], finishReason: 'stop' }],
        usage: { promptTokens: 10, completionTokens: 4 },
      },
    ],
    [
      'more prompt than the payload can hold',
      { ...result, usage: { ...usage, promptTokens: 100 + 256 + 1 } },
    ],
    ['fewer tokens than it charges for', { ...result, choices: [{ ...choice, tokenIds: [1] }] }],
    ['more tokens than it names', { ...result, choices: [{ ...choice, tokenIds: [1, 2, 3] }] }],
    [
      'an end for length before the bound',
      { ...result, choices: [{ ...choice, finishReason: 'length' }] },
    ],
    [
      'a cut that nobody asked for',
      { ...result, choices: [{ ...choice, finishReason: 'cancelled' }] },
    ],
  ];
  for (const [what, wrong] of broken)
    it(`refuses ${what}`, () => assert.equal(checkResult(wrong, expected), 'poe.result_invalid'));

  const two = { ...expected, parameters: { ...expected.parameters, choices: 2 } };
  const full = { text, tokenIds: [1, 2, 3], finishReason: 'length' as const };
  const pair = {
    ...result,
    choices: [choice, full],
    usage: { promptTokens: 10, completionTokens: 5 },
  };
  const bare = ({ tokenIds: _tokenIds, ...rest }: typeof choice | typeof full) => rest;

  it('takes as many choices as were asked for, and the sum of their tokens', () => {
    assert.equal(checkResult(pair, two), null);
    assert.equal(checkResult({ ...pair, choices: [bare(choice), bare(full)] }, two), null);
  });

  const charging = (completionTokens: number, ...choices: InferenceResult['choices']) => ({
    ...pair,
    choices,
    usage: { promptTokens: 10, completionTokens },
  });
  const brokenPairs: [string, InferenceResult][] = [
    ['one choice of two', result],
    ['three choices of two', charging(7, choice, choice, full)],
    ['a sum that is too low', charging(4, choice, full)],
    ['a sum that is too high', charging(6, choice, full)],
    [
      'a choice with more than its own bound, within that of both',
      charging(5, { ...choice, tokenIds: [1] }, { ...full, tokenIds: [1, 2, 3, 4] }),
    ],
    ['token ids of one choice alone', charging(5, bare(choice), full)],
    ['fewer tokens than choices that ended for length have', charging(5, bare(full), bare(full))],
    ['more tokens than all choices may have', charging(7, bare(choice), bare(full))],
    ['a cut of one of them', charging(5, { ...choice, finishReason: 'cancelled' }, full)],
  ];
  for (const [what, wrong] of brokenPairs)
    it(`refuses ${what}`, () => assert.equal(checkResult(wrong, two), 'poe.result_invalid'));

  it('takes log probabilities when they were asked for, and only then', () => {
    const features = ['logprobs'] as const;
    const asked = { ...expected, parameters: { ...expected.parameters, features } };
    const logprob = { token: 'na', logprob: -0.5, top: [] };
    const telling = (count: number) => ({
      ...result,
      choices: [{ ...choice, logprobs: Array.from({ length: count }, () => logprob) }],
    });
    assert.equal(checkResult(telling(2), asked), null);
    assert.equal(checkResult(telling(0), asked), null);
    assert.equal(checkResult(telling(3), asked), 'poe.result_invalid', 'more than tokens');
    assert.equal(checkResult(telling(2), expected), 'poe.result_invalid', 'not asked for');
    assert.equal(checkResult(result, asked), 'poe.result_invalid', 'missing');
  });

  it('takes a cut when the requester cancelled, with everything else as it must be', () => {
    const cut = { ...result, choices: [{ ...choice, finishReason: 'cancelled' as const }] };
    assert.equal(checkResult(cut, expected), 'poe.result_invalid');
    assert.equal(checkResult(cut, expected, true), null);
    // It may have been faster than the cancellation.
    assert.equal(checkResult(result, expected, true), null);
    for (const wrong of [
      { ...cut, seed: cut.seed + 1 },
      { ...cut, choices: [{ ...choice, tokenIds: [1], finishReason: 'cancelled' as const }] },
      { ...cut, choices: [{ ...choice, finishReason: 'length' as const }] },
    ])
      assert.equal(checkResult(wrong, expected, true), 'poe.result_invalid');
  });

  it('can not tell another text: that is for sampled checks', () => {
    const other = { ...result, choices: [{ ...choice, text: 'something else' }] };
    assert.equal(checkResult(other, expected), null);
  });
});

describe('protocol/validate checkStream', () => {
  it('has nothing to say when nobody saw the stream', () => {
    assert.equal(checkStream({ ...result, streamDigest: emptyStreamDigest }, null), null);
  });

  it('accepts a stream that ended, and any beginning of it that broke off', () => {
    assert.equal(checkStream(result, relayed(deltas, true)), null);
    for (const count of [0, 1, 2, 3])
      assert.equal(checkStream(result, relayed(deltas.slice(0, count), false)), null);
  });

  const mismatches: [string, Relayed][] = [
    ['diverged', relayed(['na', 'iv'], false)],
    ['diverged and ended', relayed(['naive 🙂'], true)],
    ['went on beyond the result', relayed([...deltas, '!'], false)],
    ['ended early', relayed(deltas.slice(0, 2), true)],
    ['ended before it began', relayed([], true)],
    ['ended with the same text in other frames', relayed([text], true)],
    ['ended with another digest', { ...relayed(deltas, true), streamDigest: emptyStreamDigest }],
  ];
  for (const [what, stream] of mismatches)
    it(`refuses a stream that ${what}`, () =>
      assert.equal(checkStream(result, stream), 'poe.stream_mismatch'));

  it('accepts exactly the streams of the result, over any texts', () => {
    const texts = fc.array(fc.constantFrom('a', 'b', 'ab', ''), { maxLength: 5 });
    fc.assert(
      fc.property(texts, texts, (committed, sent) => {
        const whole = relayed(committed, true);
        const claimed = {
          ...result,
          choices: [{ ...choice, text: whole.text }],
          streamDigest: whole.streamDigest,
        };
        const sameFrames = JSON.stringify(committed) === JSON.stringify(sent);
        assert.equal(checkStream(claimed, relayed(sent, true)) === null, sameFrames);
        const begun = whole.text.indexOf(sent.join('')) === 0;
        assert.equal(checkStream(claimed, relayed(sent, false)) === null, begun);
      }),
      { numRuns: 500 },
    );
  });
});

describe('protocol/validate checkTimes', () => {
  const check = (decryptedAtMs: number, finishedAtMs: number, deadlineSeconds = 2) =>
    checkTimes({ decryptedAtMs, finishedAtMs }, { deadlineSeconds });

  it('takes a return within its deadline, to the millisecond', () => {
    for (const elapsedMs of [0, 1, 1_999, 2_000]) assert.equal(check(1e12, 1e12 + elapsedMs), null);
    assert.equal(check(1e12, 1e12 + 2_001), 'node.deadline_exceeded');
    assert.equal(check(1e12, 1e12 + 2_001, 3), null);
  });

  it('counts from decrypt, whatever the clock of the node shows', () => {
    fc.assert(
      fc.property(
        fc.nat(Date.UTC(2099, 0, 1)),
        fc.integer({ min: 1, max: 86_400 }),
        fc.nat(100_000_000),
        (decryptedAtMs, deadlineSeconds, elapsedMs) => {
          const code = check(decryptedAtMs, decryptedAtMs + elapsedMs, deadlineSeconds);
          assert.equal(code !== null, elapsedMs > deadlineSeconds * 1_000);
        },
      ),
    );
  });

  it('does not take a clock that was set back for a miss', () => {
    assert.equal(check(1e12, 1e12 - 5_000), null);
  });
});

describe('protocol/validate returnBytesMax', () => {
  it('leaves room for every honest result, and more for more tokens', () => {
    for (const maxTokens of [1, 64, 1_024]) {
      const honest = resultBytes({
        ...result,
        // Long tokens, and ids of the most digits.
        choices: [
          {
            text: 'x'.repeat(64 * maxTokens),
            tokenIds: Array(maxTokens).fill(999_999),
            finishReason: 'length',
          },
        ],
        usage: { promptTokens: 10, completionTokens: maxTokens },
      });
      assert.ok(returnBytesMax({ maxTokens }) > (honest.length * 4) / 3, `${maxTokens} tokens`);
      assert.ok(returnBytesMax({ maxTokens }) < returnBytesMax({ maxTokens: maxTokens + 1 }));
    }
  });

  it('leaves room for all choices, and for the log probabilities of their tokens', () => {
    const likely = { token: ' wonderfully', logprob: -12.345_678 };
    const top = Array.from({ length: TOP_LOGPROBS_MAX }, () => likely);
    const told = { ...likely, top };
    const choice = {
      text: 'x'.repeat(64 * 8),
      tokenIds: Array(8).fill(999_999),
      finishReason: 'length' as const,
      logprobs: Array.from({ length: 8 }, () => told),
    };
    const honest = resultBytes({
      ...result,
      choices: [choice, choice, choice],
      usage: { promptTokens: 10, completionTokens: 24 },
    });
    const bound = returnBytesMax({ maxTokens: 8, choices: 3, features: ['choices', 'logprobs'] });
    assert.ok(bound > (honest.length * 4) / 3, `${bound}`);
    assert.ok(returnBytesMax({ maxTokens: 8, choices: 3 }) < bound);
  });

  it('never exceeds what a result may have at all, in base64', () => {
    assert.equal(returnBytesMax({ maxTokens: 8_192 }), Math.ceil((RESULT_BYTES_MAX * 4) / 3));
    assert.ok(returnBytesMax({ maxTokens: 1 }) < 20_000);
  });
});

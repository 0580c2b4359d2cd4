import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import * as fc from 'fast-check';
import { CanonicalError, canonicalBytes } from '../../protocol/canonical.ts';
import { CodedError } from '../../protocol/errors.ts';
import {
  emptyStreamDigest,
  extendStreamDigest,
  LOGPROB_MIN,
  parseResult,
  RESULT_BYTES_MAX,
  resultBytes,
  type InferenceResult,
} from '../../protocol/result.ts';
import { choiceSeed } from '../../protocol/receive.ts';
import results from '../../protocol/vectors/results.json' with { type: 'json' };
import vectors from '../../protocol/vectors/stream-digest.json' with { type: 'json' };

const result: InferenceResult = {
  v: 1,
  modelDigest: `sha256:${'b1'.repeat(32)}`,
  engine: 'node-llama-cpp/3.22.1',
  seed: 7,
  choices: [{ text: 'naïve 🙂', tokenIds: [1, 2], finishReason: 'stop' }],
  usage: { promptTokens: 3, completionTokens: 2 },
  streamDigest: emptyStreamDigest,
};
const [choice] = result.choices;

describe('protocol/result', () => {
  it('round-trips a result through its canonical bytes', () => {
    const text = fc.string({ unit: 'binary' });
    const finishReason = fc.constantFrom('stop', 'length', 'cancelled');
    const tokenIds = fc.array(fc.nat(0xffff_ffff), { maxLength: 20 });
    const logprob = fc.double({ min: LOGPROB_MIN, max: 0, noNaN: true }).filter((x) => x !== 0);
    const token = fc.string({ unit: 'grapheme', maxLength: 20 });
    const top = fc.array(fc.record({ token, logprob }), { maxLength: 3 });
    const bytes = fc.array(fc.nat(255), { maxLength: 4 });
    const logprobs = fc.array(
      fc.record({ token, logprob, top, bytes }, { requiredKeys: ['token', 'logprob', 'top'] }),
      { maxLength: 5 },
    );
    const choices = fc.array(
      fc.record(
        { text, tokenIds, finishReason, logprobs },
        { requiredKeys: ['text', 'finishReason'] },
      ),
      { minLength: 1, maxLength: 3 },
    );
    fc.assert(
      fc.property(choices, fc.nat(0xffff_ffff), (choices, seed) => {
        const bytes = resultBytes({ ...result, choices, seed });
        const parsed = parseResult(bytes);
        // Through JSON, because fast-check's records have no prototype.
        const expected: unknown = JSON.parse(JSON.stringify({ ...result, choices, seed }));
        assert.deepEqual(parsed, expected);
        assert.deepEqual(canonicalBytes(parsed), bytes);
      }),
    );
  });

  for (const { about, result: given, canonicalUtf8 } of results.results)
    it(`agrees with the vector of ${about}`, () => {
      const parsed = parseResult(Buffer.from(canonicalUtf8));
      assert.deepEqual(parsed, given);
      assert.equal(Buffer.from(resultBytes(parsed)).toString(), canonicalUtf8);
    });

  it('agrees with the vectors of the seeds of choices', () => {
    for (const { seed, index, choiceSeed: expected } of results.choiceSeeds)
      assert.equal(choiceSeed(seed, index), expected);
  });

  const wrong: [string, object][] = [
    ['an unknown member', { extra: 1 }],
    ['another version', { v: 2 }],
    ['a model digest without its scheme', { modelDigest: 'b1'.repeat(32) }],
    ['an upper-case digest', { streamDigest: 'A'.repeat(64) }],
    ['a seed beyond 32 bits', { seed: 2 ** 32 }],
    ['a negative count', { usage: { promptTokens: -1, completionTokens: 0 } }],
    ['a fraction of a token', { usage: { promptTokens: 0.5, completionTokens: 0 } }],
    ['no choice', { choices: [] }],
    ['too many choices', { choices: Array(17).fill(choice) }],
    ['an unknown finish reason', { choices: [{ ...choice, finishReason: 'tired' }] }],
    ['an unknown member of a choice', { choices: [{ ...choice, confidence: 1 }] }],
    ...(
      [
        ['a probability above 1', { logprob: 0.1 }],
        ['a log probability that no result has', { logprob: -10_000 }],
        ['no log probability', { logprob: null }],
        [
          'too many alternatives',
          { top: Array.from({ length: 21 }, () => ({ token: 'a', logprob: -1 })) },
        ],
        ['an alternative with more members', { top: [{ token: 'a', logprob: -1, id: 1 }] }],
        ['a token without end', { token: 'x'.repeat(513) }],
        ['a byte beyond 255', { bytes: [256] }],
      ] as const
    ).map(([what, changed]): [string, object] => [
      what,
      { choices: [{ ...choice, logprobs: [{ token: 'a', logprob: -1, top: [], ...changed }] }] },
    ]),
    ['too many token ids', { choices: [{ ...choice, tokenIds: Array(8193).fill(0) }] }],
    ['an endless engine', { engine: 'x'.repeat(201) }],
  ];
  for (const [what, change] of wrong)
    it(`refuses ${what}`, () => {
      assert.throws(
        () => parseResult(canonicalBytes({ ...result, ...change })),
        (error: Error) => {
          assert.ok(error instanceof CodedError);
          assert.equal(error.code, 'poe.result_invalid');
          const [member = ''] = Object.keys(change);
          return error.message.includes(`Wrong at: ${member === 'extra' ? '(top level)' : member}`);
        },
      );
    });

  it('refuses bytes that are not canonical, and too many', () => {
    const pretty = Buffer.from(JSON.stringify(result, undefined, 1));
    assert.throws(() => parseResult(pretty), { code: 'poe.result_invalid' });
    const bytes = new Uint8Array(RESULT_BYTES_MAX + 1);
    assert.throws(() => parseResult(bytes), { code: 'poe.oversize' });
    const text = 'x'.repeat(RESULT_BYTES_MAX);
    const large = { ...result, choices: [{ text, finishReason: 'stop' as const }] };
    assert.throws(() => resultBytes(large), { code: 'poe.oversize' });
  });

  it('refuses half a surrogate pair before it is committed to', () => {
    const text = 'cut \ud83d';
    const cut = { ...result, choices: [{ text, finishReason: 'length' as const }] };
    assert.throws(() => resultBytes(cut), CanonicalError);
    const escaped = Buffer.from(JSON.stringify(cut));
    assert.throws(() => parseResult(escaped), { code: 'poe.result_invalid' });
  });

  it('keeps the text of a result out of its errors', () => {
    const secret = { ...result, choices: [{ text: 'secret', finishReason: 'secret' }] };
    assert.throws(
      () => parseResult(canonicalBytes(secret)),
      (error: Error) => {
        return (
          error.message.includes('choices.0.finishReason') && !error.message.includes('secret')
        );
      },
    );
  });

  for (const [index, { deltas, streamDigest }] of vectors.cases.entries())
    it(`agrees with stream vector ${index}`, () => {
      assert.equal(chain(...deltas), streamDigest);
      const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest();
      const independent = deltas.reduce(
        (digest, delta) => sha256(Buffer.concat([digest, sha256(Buffer.from(delta))])),
        Buffer.alloc(32),
      );
      assert.equal(independent.toString('hex'), streamDigest);
    });

  it('has another stream digest for another text, order or division into frames', () => {
    const frames = fc.array(fc.string({ unit: 'binary', maxLength: 4 }), { maxLength: 5 });
    fc.assert(
      fc.property(frames, frames, (one, other) => {
        const same = JSON.stringify(one) === JSON.stringify(other);
        assert.equal(chain(...one) === chain(...other), same);
      }),
    );
    assert.notEqual(chain('ab'), chain('a', 'b'));
    assert.notEqual(chain('a', 'b'), chain('b', 'a'));
    assert.notEqual(chain(), chain(''));
  });

  it('refuses a frame that ends within a surrogate pair', () => {
    assert.throws(() => chain('\ud83d', '\ude42'), CanonicalError);
  });
});

function chain(...deltas: string[]): string {
  return deltas.reduce((digest, delta) => extendStreamDigest(digest, delta), emptyStreamDigest);
}

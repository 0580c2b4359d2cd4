import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { llmV1 } from '../../../protocol/compare/llm.ts';
import {
  emptyStreamDigest,
  extendStreamDigest,
  parseResult,
  resultBytes,
  type InferenceResult,
} from '../../../protocol/result.ts';

const CHOICE: InferenceResult['choices'][number] = {
  text: 'a fox',
  tokenIds: [5, 6, 7],
  finishReason: 'stop',
};
const RESULT: InferenceResult = {
  v: 1,
  modelDigest: `sha256:${'b1'.repeat(32)}`,
  engine: 'engine/1 avx2',
  seed: 7,
  choices: [CHOICE],
  usage: { promptTokens: 3, completionTokens: 3 },
  streamDigest: emptyStreamDigest,
};
const REASONS = ['engine', 'model', 'seed', 'choices', 'tokens', 'text', 'finish', 'usage'];
const WITHOUT_IDS = { text: 'a fox', finishReason: 'stop' } as const;
const choose = (change: Partial<typeof CHOICE>) => ({ choices: [{ ...CHOICE, ...change }] });

/** Results that are near each other, so that each rule decides about some pair. */
const results: fc.Arbitrary<InferenceResult> = fc
  .record({
    engine: fc.constantFrom('x', 'y'),
    modelDigest: fc.constantFrom(RESULT.modelDigest, `sha256:${'00'.repeat(32)}`),
    seed: fc.constantFrom(0, 1),
    choices: fc.array(
      fc.record(
        {
          text: fc.string({ unit: 'binary', maxLength: 1 }),
          tokenIds: fc.array(fc.nat(1), { maxLength: 2 }),
          finishReason: fc.constantFrom('stop', 'length', 'cancelled'),
        },
        { requiredKeys: ['text', 'finishReason'] },
      ),
      { minLength: 1, maxLength: 2 },
    ),
    promptTokens: fc.constantFrom(1, 2),
  })
  .map(({ promptTokens, ...some }) => {
    const usage = { promptTokens, completionTokens: 1 };
    return parseResult(resultBytes({ ...RESULT, ...some, usage }));
  });

describe('protocol/compare/llm', () => {
  it('is symmetric, and agrees with itself', () => {
    fc.assert(
      fc.property(results, results, (a, b) => {
        assert.deepEqual(llmV1.compare(a, b), llmV1.compare(b, a));
        assert.deepEqual(llmV1.compare(a, structuredClone(a)), { agrees: true, distance: 0 });
      }),
      { numRuns: 1_000 },
    );
  });

  const wrong: [string, Partial<InferenceResult>, reason: string, distance?: number][] = [
    ['another engine', { engine: 'engine/1 avx512' }, 'engine'],
    ['other weights', { modelDigest: `sha256:${'b2'.repeat(32)}` }, 'model'],
    ['another seed', { seed: 8 }, 'seed'],
    ['one choice more', { choices: [CHOICE, CHOICE] }, 'choices'],
    ['one other token', choose({ tokenIds: [5, 0, 7] }), 'tokens', 1],
    ['fewer tokens', choose({ tokenIds: [5] }), 'tokens', 2],
    ['more tokens', choose({ tokenIds: [5, 6, 7, 8] }), 'tokens', 1],
    ['another text with the right tokens', choose({ text: 'a Fox' }), 'text'],
    ['another text without tokens', { choices: [{ ...WITHOUT_IDS, text: 'a Fox' }] }, 'text'],
    ['another end', choose({ finishReason: 'length' }), 'finish'],
    ['more prompt tokens', { usage: { promptTokens: 4, completionTokens: 3 } }, 'usage'],
    ['more completion tokens', { usage: { promptTokens: 3, completionTokens: 4 } }, 'usage'],
  ];
  for (const [name, change, reason, distance] of wrong)
    it(`refuses ${name}`, () => {
      const expected = { agrees: false, reason, ...(distance ? { distance } : {}) };
      assert.deepEqual(llmV1.compare(RESULT, { ...RESULT, ...change }), expected);
    });

  it('looks at every choice', () => {
    const other = { ...CHOICE, tokenIds: [5, 6, 8] };
    const [a, b] = [
      { ...RESULT, choices: [CHOICE, CHOICE] },
      { ...RESULT, choices: [CHOICE, other] },
    ];
    assert.deepEqual(llmV1.compare(a, b), { agrees: false, reason: 'tokens', distance: 1 });
  });

  it('takes the text where one side has no token ids', () => {
    const without = { ...RESULT, choices: [WITHOUT_IDS] };
    assert.ok(llmV1.compare(RESULT, without).agrees);
    assert.ok(llmV1.compare(without, without).agrees);
  });

  it('takes the same text in other frames', () => {
    const digest = (frames: readonly string[]) =>
      frames.reduce(extendStreamDigest, emptyStreamDigest);
    const [whole, cut] = [['a fox'], ['a', ' fox']].map((frames) => ({
      ...RESULT,
      streamDigest: digest(frames),
    }));
    assert.ok(whole && cut && whole.streamDigest !== cut.streamDigest);
    assert.ok(llmV1.compare(whole, cut).agrees);
  });

  it('gives no reason that quotes a result', () => {
    fc.assert(
      fc.property(results, results, (a, b) => {
        const { reason = 'tokens' } = llmV1.compare(a, b);
        assert.ok(REASONS.includes(reason), reason);
      }),
    );
  });

  it('can compare within an equivalence class only', () => {
    assert.equal(llmV1.equivalence, 'required');
  });
});

import type { InferenceResult } from '../result.ts';
import type { Comparator, Comparison } from './comparator.ts';

/**
 * Answers of a model, within one equivalence class: there, the same request, seed and weights give
 * the same tokens, whatever runs beside it. Across classes honest nodes write different texts
 * (docs/comparators.md), so results of two engines never agree, and say nothing of each other.
 *
 * The text has to be equal too: it is what the caller reads, and a node that ran the model might
 * still write something else. Usage is what is charged. `streamDigest` isn't compared, since one
 * text may be cut into other frames; it is checked against what was relayed.
 *
 * `distance` is the number of tokens that differ or that one of them lacks. An answer that was cut
 * short by its caller may end anywhere, so it can't be checked by another one.
 */
export const llmV1: Comparator<InferenceResult> = {
  name: 'llm',
  version: 1,
  equivalence: 'required',
  compare: compareAnswers,
};

type Choice = InferenceResult['choices'][number];

function compareAnswers(a: InferenceResult, b: InferenceResult): Comparison {
  if (a.engine !== b.engine) return { agrees: false, reason: 'engine' };
  if (a.modelDigest !== b.modelDigest) return { agrees: false, reason: 'model' };
  if (a.seed !== b.seed) return { agrees: false, reason: 'seed' };
  if (a.choices.length !== b.choices.length) return { agrees: false, reason: 'choices' };
  const pairs = a.choices.flatMap((choice, index): [Choice, Choice][] => {
    const other = b.choices[index];
    return other === undefined ? [] : [[choice, other]];
  });
  const distance = pairs.reduce((sum, [x, y]) => sum + tokensApart(x, y), 0);
  if (distance > 0) return { agrees: false, reason: 'tokens', distance };
  if (pairs.some(([x, y]) => x.text !== y.text)) return { agrees: false, reason: 'text' };
  if (pairs.some(([x, y]) => x.finishReason !== y.finishReason))
    return { agrees: false, reason: 'finish' };
  const isSameUsage =
    a.usage.promptTokens === b.usage.promptTokens &&
    a.usage.completionTokens === b.usage.completionTokens;
  return isSameUsage ? { agrees: true, distance } : { agrees: false, reason: 'usage' };
}

/** 0 where one of them has no token ids, as behind OpenAI's API: there the text has to do. */
function tokensApart({ tokenIds: a }: Choice, { tokenIds: b }: Choice): number {
  if (a === undefined || b === undefined) return 0;
  const shared = Math.min(a.length, b.length);
  const others = a.slice(0, shared).filter((id, index) => id !== b[index]).length;
  return others + Math.max(a.length, b.length) - shared;
}

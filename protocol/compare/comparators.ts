import type { InferenceResult } from '../result.ts';
export function comparatorOf(name: 'llm') {
  return {
    name,
    version: 1,
    equivalence: 'required' as const,
    compare(a: InferenceResult, b: InferenceResult) {
      const text = (r: InferenceResult) =>
        JSON.stringify([r.engine, r.choices, r.usage, r.seed, r.modelDigest]);
      return { agrees: text(a) === text(b) };
    },
  };
}

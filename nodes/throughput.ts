import type { Backend } from './backends/backend.ts';

const TOKENS = 24;

/**
 * Tokens per second of one short generation, prompt included, so that a scheduler errs towards
 * "slower". It is a claim: what the network relies on it measures itself.
 */
export async function measureThroughput(backend: Backend): Promise<number> {
  const request = {
    messages: [{ role: 'user' as const, content: 'Count from one to one hundred in words.' }],
    maxTokens: TOKENS,
    temperature: 0,
    topP: 1,
    seed: 0,
    stop: [],
  };
  const startedAt = performance.now();
  const { completionTokens } = await backend.generate(
    request,
    () => {},
    new AbortController().signal,
  );
  return (completionTokens * 1_000) / (performance.now() - startedAt);
}

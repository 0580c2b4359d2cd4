import { BackendFailedError, type Backend } from './backends/backend.ts';

const TOKENS = 24;

/**
 * Tokens per second of one short generation, prompt included, so that a scheduler errs towards
 * "slower". It is a claim: what the network relies on it measures itself. It is a trial too: a
 * backend that fails it fails every request.
 *
 * @throws BackendFailedError also for an answer without a token.
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
  if (completionTokens === 0)
    throw new BackendFailedError('The backend answered a trial request with no token at all.');
  return (completionTokens * 1_000) / (performance.now() - startedAt);
}

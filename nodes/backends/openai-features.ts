import type { Backend, GenerateRequest, Generation } from './backend.ts';

const CHAT: GenerateRequest = {
  messages: [{ role: 'user', content: 'Count from one to ten.' }],
  maxTokens: 2,
  temperature: 0,
  topP: 1,
  seed: 0,
  stop: [],
};
const TEXT: GenerateRequest = { ...CHAT, messages: [], prompt: 'One, two, three,' };

/**
 * What a server can do besides chat, by trying it: no list of its abilities could be asked for. Log
 * probabilities count if they come with whatever else it can do.
 */
export async function probeFeatures(
  generate: (request: GenerateRequest) => Promise<Generation>,
): Promise<Backend['features']> {
  const answers = async (request: GenerateRequest): Promise<boolean> => {
    try {
      const { completionTokens, logprobs = [] } = await generate(request);
      return completionTokens > 0 && (request.logprobs === undefined || logprobs.length > 0);
    } catch {
      // Whatever is wrong with it: then it isn't offered. The trial of a chat tells of outages.
      return false;
    }
  };
  const hasText = await answers(TEXT);
  const tells =
    (await answers({ ...CHAT, logprobs: 1 })) &&
    (!hasText || (await answers({ ...TEXT, logprobs: 1 })));
  return [...(hasText ? (['completion'] as const) : []), ...(tells ? (['logprobs'] as const) : [])];
}

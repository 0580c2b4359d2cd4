import type { GenerateRequest } from '../../nodes/backends/backend.ts';

const OPENINGS = [
  'Write a short story about',
  'Explain to a child',
  'Write a poem about',
  'What do people know of',
  'Write an advertisement for',
  'List three facts about',
  'Write a letter about',
  'What would change without',
  'Write Python code that simulates',
  'Tell a joke about',
];
const TOPICS = (
  'a lighthouse, the moon, bread, two foxes, an old railway, winter, a violin, the ocean, ' +
  'honey bees, a lost letter, glaciers, chess, a garden at night, salt, the first computer, ' +
  'a bicycle, thunder, paper, a tower, whales, coffee, a museum, rivers, a clock, umbrellas, ' +
  'volcanoes, a market, snow, the alphabet, a bridge'
).split(', ');
const SYSTEM = 'You are a careful assistant. Answer in plain words, and never repeat yourself.';
const BACKGROUND =
  'The committee met on Tuesday and talked about the harbour bridge again, without a result. ';

/** One of each opening with each topic, in the order of the topics. */
export const LLM_REQUESTS: readonly GenerateRequest[] = TOPICS.flatMap((topic, t) =>
  OPENINGS.map((opening, o) => request(`${opening} ${topic}.`, t * OPENINGS.length + o)),
);

/** Temperature, nucleus, length, system message and length of the prompt vary independently. */
function request(question: string, index: number): GenerateRequest {
  // Long enough for several chunks of a prompt.
  const content = index % 7 === 3 ? `${BACKGROUND.repeat(8)}${question}` : question;
  const user = { role: 'user', content } as const;
  return {
    messages: index % 3 === 0 ? [{ role: 'system', content: SYSTEM }, user] : [user],
    maxTokens: index % 11 === 5 ? 64 : 16,
    temperature: [0, 0.7, 1, 1.5][index % 4] ?? 0,
    topP: index % 5 === 2 ? 0.9 : 1,
    seed: 1_000_003 * index,
    stop: index % 13 === 6 ? ['.'] : [],
  };
}

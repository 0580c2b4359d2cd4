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

/** How the second result of each kind of pair came about. */
export const LLM_MADE = {
  'beside others':
    'the request alone in one process, of one slot and 1,024 tokens of context, and in another ' +
    'process, of four slots and 2,048 tokens, beside three others',
  'another prompt': 'the answer to another request, under the id of this one',
  greedy: 'the likeliest token each time where a temperature of 0.7 or more was asked for',
  'coarser weights': 'the lowest of the four bits of each weight taken away',
  'half of the prompt': 'only the first half of the last message was read',
  'cut short': 'a third of the answer left out at its end',
  'one token changed': 'one token id replaced, the text as it was',
  'one character changed': 'one character of the text replaced, the token ids as they were',
  'usage inflated': 'one prompt token more was counted for each ten',
} as const;

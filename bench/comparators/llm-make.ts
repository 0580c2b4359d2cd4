import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GenerateRequest } from '../../nodes/backends/backend.ts';
import { Random } from '../sim/random.ts';
import { writeCoarseModel } from './coarse-model.ts';
import { LlmPairs, type Answer, type LlmData } from './llm.ts';
import { answerAll, type Answers } from './llm-node.ts';
import { LLM_REQUESTS } from './llm-requests.ts';

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

/** How many of the requests each kind of cheat is shown at, evenly spread. */
const CHEATED = 40;
const SLOTS = 4;
/** Tokens that the bundled model knows. */
const VOCABULARY = 49_152;

/** Runs the model at `modelPath`: some minutes on one core, and the same on any of its class. */
export async function makeLlmData(modelPath: string): Promise<LlmData> {
  const alone = { modelPath, slots: 1, contextTokens: 1024 };
  const beside = { modelPath, slots: SLOTS, contextTokens: 2048 };
  const [one, other] = await Promise.all([
    answerAll(alone, LLM_REQUESTS),
    answerAll(beside, LLM_REQUESTS.toReversed()),
  ]);
  if (one.engine !== other.engine) throw new Error('the two nodes are not of one class');
  const pairs = new LlmPairs();
  const [honest, again] = [one.answers, other.answers.toReversed()];
  for (const [request, a] of honest.entries())
    pairs.add('beside others', true, request, [a, at(again, request)]);
  await addModelCheats(pairs, honest, modelPath);
  addForgeries(pairs, honest);
  return pairs.data(one);
}

/** What cheats really answer that run something cheaper. */
async function addModelCheats(
  pairs: LlmPairs,
  honest: readonly Answer[],
  modelPath: string,
): Promise<void> {
  const sampled = spread((request) => request.temperature > 0);
  const any = spread(() => true);
  const work = await mkdtemp(join(tmpdir(), 'parallelix-comparators-'));
  try {
    const coarsePath = join(work, 'coarse.gguf');
    await writeCoarseModel(modelPath, coarsePath);
    const node = { slots: SLOTS, contextTokens: 1024 };
    const ask = (requests: readonly number[], change: (r: GenerateRequest) => GenerateRequest) =>
      requests.map((index) => change(at(LLM_REQUESTS, index)));
    const [greedyAndHalf, coarse] = await Promise.all([
      answerAll({ ...node, modelPath }, [
        ...ask(sampled, (request) => ({ ...request, temperature: 0 })),
        ...ask(any, halfPrompt),
      ]),
      answerAll(
        { ...node, modelPath: coarsePath },
        ask(any, (request) => request),
      ),
    ]);
    const add = (kind: string, requests: readonly number[], answers: Answers['answers']) => {
      for (const [place, request] of requests.entries()) {
        const a = at(honest, request);
        // Counting a prompt costs nothing, so nobody is found out by it.
        pairs.add(kind, false, request, [
          a,
          { ...at(answers, place), promptTokens: a.promptTokens },
        ]);
      }
    };
    add('greedy', sampled, greedyAndHalf.answers.slice(0, sampled.length));
    add('half of the prompt', any, greedyAndHalf.answers.slice(sampled.length));
    add('coarser weights', any, coarse.answers);
  } finally {
    await rm(work, { recursive: true });
  }
}

/** What cheats make of an answer, their own or another's. */
function addForgeries(pairs: LlmPairs, honest: readonly Answer[]): void {
  const random = new Random(1);
  const below = (count: number) => Math.floor(random.between(0, count));
  const add = (kind: string, forge: (answer: Answer) => Answer) => {
    for (const request of spread((_, index) => at(honest, index).text.length > 2)) {
      const a = at(honest, request);
      pairs.add(kind, false, request, [a, forge(a)]);
    }
  };
  for (const request of spread(() => true)) {
    const [a, b] = [at(honest, request), at(honest, (request + 1) % honest.length)];
    pairs.add('another prompt', false, request, [a, { ...b, promptTokens: a.promptTokens }]);
  }
  add('cut short', (answer) => ({
    ...answer,
    text: twoThirds([...answer.text]).join(''),
    tokenIds: twoThirds(answer.tokenIds),
    finishReason: 'stop',
  }));
  add('one token changed', (answer) => {
    const place = below(answer.tokenIds.length);
    const id = (at(answer.tokenIds, place) + 1 + below(VOCABULARY - 1)) % VOCABULARY;
    return { ...answer, tokenIds: answer.tokenIds.with(place, id) };
  });
  add('one character changed', (answer) => {
    const characters = [...answer.text];
    const place = below(characters.length);
    const text = characters.with(place, characters[place] === 'x' ? 'y' : 'x').join('');
    return { ...answer, text };
  });
  add('usage inflated', (answer) => ({
    ...answer,
    promptTokens: answer.promptTokens + Math.ceil(answer.promptTokens / 10),
  }));
}

/** Some of the requests that suit, by their index. */
function spread(suits: (request: GenerateRequest, index: number) => boolean): number[] {
  const all = LLM_REQUESTS.flatMap((request, index) => (suits(request, index) ? [index] : []));
  const count = Math.min(CHEATED, all.length);
  return Array.from({ length: count }, (_, place) =>
    at(all, Math.floor((place * all.length) / count)),
  );
}

function twoThirds<Item>(items: readonly Item[]): readonly Item[] {
  return items.slice(0, Math.ceil((items.length * 2) / 3));
}

function halfPrompt(request: GenerateRequest): GenerateRequest {
  const messages = request.messages.map((message, index) => {
    const isLast = index === request.messages.length - 1;
    const { content } = message;
    return isLast ? { ...message, content: content.slice(0, content.length / 2) } : message;
  });
  return { ...request, messages };
}

function at<Item>(items: readonly Item[], index: number): Item {
  const item = items[index];
  if (item === undefined) throw new RangeError(`there is nothing at ${index}`);
  return item;
}

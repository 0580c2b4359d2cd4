import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GenerateRequest } from '../../nodes/backends/backend.ts';
import { Random } from '../sim/random.ts';
import { writeCoarseModel } from './coarse-model.ts';
import { LlmPairs, type Answer, type LlmData } from './llm.ts';
import { answerAll } from './llm-node.ts';
import { LLM_REQUESTS } from './llm-requests.ts';

/** At how many of the requests, evenly spread, each cheat that runs a model is shown. */
const CHEATED = 40;
/** At how many each forgery is shown, which any comparison of tokens, text and usage finds. */
const FORGED = 20;
const SLOTS = 4;
/** Tokens that the bundled model knows. */
const VOCABULARY = 49_152;

/** All that was answered, in the order of the requests or of the ones that were spread. */
export interface Answered {
  readonly model: Pick<LlmData, 'engine' | 'modelDigest'>;
  readonly alone: readonly Answer[];
  readonly beside: readonly Answer[];
  readonly greedy: readonly Answer[];
  readonly half: readonly Answer[];
  readonly coarse: readonly Answer[];
}

const SAMPLED = spread(CHEATED, (request) => request.temperature > 0);
const ANY = spread(CHEATED, () => true);

/** Runs the model at `modelPath`: some minutes on two cores, and the same on any of its class. */
export async function askModel(modelPath: string): Promise<Answered> {
  const [one, other] = await Promise.all([
    answerAll({ modelPath, slots: 1, contextTokens: 1024 }, LLM_REQUESTS),
    answerAll({ modelPath, slots: SLOTS, contextTokens: 2048 }, LLM_REQUESTS.toReversed()),
  ]);
  if (one.engine !== other.engine) throw new Error('the two nodes are not of one class');
  const work = await mkdtemp(join(tmpdir(), 'parallelix-comparators-'));
  try {
    const coarsePath = join(work, 'coarse.gguf');
    await writeCoarseModel(modelPath, coarsePath);
    const node = { slots: SLOTS, contextTokens: 1024 };
    const ask = (requests: readonly number[]) => requests.map((index) => at(LLM_REQUESTS, index));
    const greedy = ask(SAMPLED).map((request) => ({ ...request, temperature: 0 }));
    const [cheap, coarse] = await Promise.all([
      answerAll({ ...node, modelPath }, [...greedy, ...ask(ANY).map(halfPrompt)]),
      answerAll({ ...node, modelPath: coarsePath }, ask(ANY)),
    ]);
    return {
      model: { engine: one.engine, modelDigest: one.modelDigest },
      alone: one.answers,
      beside: other.answers.toReversed(),
      greedy: cheap.answers.slice(0, greedy.length),
      half: cheap.answers.slice(greedy.length),
      coarse: coarse.answers,
    };
  } finally {
    await rm(work, { recursive: true });
  }
}

/** The fixture's pairs, of what was answered and of what cheats would make of it. */
export function pairAnswers(answered: Answered): LlmData {
  const pairs = new LlmPairs();
  const { alone, beside } = answered;
  for (const [request, a] of alone.entries())
    pairs.add('beside others', true, request, [a, at(beside, request)]);
  const add = (kind: string, requests: readonly number[], answers: readonly Answer[]) => {
    for (const [place, request] of requests.entries()) {
      const a = at(alone, request);
      // Counting a prompt costs nothing, so nobody is found out by it.
      const b = { ...at(answers, place), promptTokens: a.promptTokens };
      pairs.add(kind, false, request, [a, b]);
    }
  };
  add('greedy', SAMPLED, answered.greedy);
  add('half of the prompt', ANY, answered.half);
  add('coarser weights', ANY, answered.coarse);
  const others = ANY.map((request) => at(alone, (request + 1) % alone.length));
  add('another prompt', ANY, others);
  addForgeries(pairs, alone);
  return pairs.data(answered.model);
}

/** What cheats make of an answer that they have. */
function addForgeries(pairs: LlmPairs, honest: readonly Answer[]): void {
  const random = new Random(1);
  const below = (count: number) => Math.floor(random.between(0, count));
  const add = (kind: string, forge: (answer: Answer) => Answer) => {
    for (const request of spread(FORGED, (_, index) => at(honest, index).text.length > 2)) {
      const a = at(honest, request);
      pairs.add(kind, false, request, [a, forge(a)]);
    }
  };
  add('cut short', (answer) => ({
    ...answer,
    text: twoThirds(Array.from(answer.text)).join(''),
    tokenIds: twoThirds(answer.tokenIds),
    finishReason: 'stop',
  }));
  add('one token changed', (answer) => {
    const place = below(answer.tokenIds.length);
    const id = (at(answer.tokenIds, place) + 1 + below(VOCABULARY - 1)) % VOCABULARY;
    return { ...answer, tokenIds: answer.tokenIds.with(place, id) };
  });
  add('one character changed', (answer) => {
    const characters = Array.from(answer.text);
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
function spread(
  most: number,
  suits: (request: GenerateRequest, index: number) => boolean,
): number[] {
  const all = LLM_REQUESTS.flatMap((request, index) => (suits(request, index) ? [index] : []));
  const count = Math.min(most, all.length);
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

import { canonicalBytes } from '../../protocol/canonical.ts';
import { Random } from '../sim/random.ts';
import type { Pair } from './rates.ts';

/** Canonical bytes, as text. */
export interface ExactData {
  /** Kind, whether both were honest, and both results. */
  readonly pairs: readonly (readonly [string, boolean, string, string])[];
}

export const EXACT_MADE = {
  'other parts': 'the words of a text counted in one piece, and in pieces that were added up',
  'a part left out': 'the last word not counted',
  'other input': 'the count of another text',
  'one bit': 'one bit of the result flipped',
  'cut short': 'the last byte left out',
} as const;

export function exactPairs({ pairs }: ExactData): Pair<Uint8Array>[] {
  return pairs.map(([kind, isHonest, a, b]) => ({
    kind,
    isHonest,
    a: Buffer.from(a, 'latin1'),
    b: Buffer.from(b, 'latin1'),
  }));
}

const UNITS = 200;
const CHEATED_EVERY = 4;
const WORDS = 40;
const VOCABULARY = ['fox', 'moon', 'salt', 'tower', 'whale'] as const;

/** Counts words, in whole numbers. */
export function makeExactData(): ExactData {
  const random = new Random(3);
  const below = (count: number) => Math.floor(random.between(0, count));
  const draw = () =>
    Array.from({ length: WORDS }, () => VOCABULARY[below(VOCABULARY.length)] ?? '');
  const pairs: ExactData['pairs'][number][] = [];
  for (let index = 0; index < UNITS; index++) {
    const words = draw();
    const honest = encode(count([words]));
    const add = (kind: string, isHonest: boolean, other: string) =>
      pairs.push([kind, isHonest, honest, other]);
    const cut = below(WORDS);
    add('other parts', true, encode(count([words.slice(cut), words.slice(0, cut)])));
    if (index % CHEATED_EVERY > 0) continue;
    add('a part left out', false, encode(count([words.slice(0, -1)])));
    add('other input', false, encode(count([draw()])));
    add('cut short', false, honest.slice(0, -1));
    const place = below(honest.length);
    const flipped = String.fromCharCode(honest.charCodeAt(place) ^ (1 << below(8)));
    add('one bit', false, honest.slice(0, place) + flipped + honest.slice(place + 1));
  }
  return { pairs };
}

function count(parts: readonly (readonly string[])[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of parts.flat()) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}

function encode(value: unknown): string {
  return Buffer.from(canonicalBytes(value)).toString('latin1');
}

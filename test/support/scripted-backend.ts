import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { instantBackend } from '../../bench/instant-backend.ts';
import { BackendFailedError, type Backend } from '../../nodes/backends/backend.ts';
import { StopScanner } from '../../nodes/backends/stop-scanner.ts';

/** One generation, as the node has it. */
export interface Generating {
  /** What it was asked. */
  readonly text: string;
  isOver: boolean;
  isAborted: boolean;
}

const SLOW_MS = 50;
/** Until what was said has gone out. */
const FLUSH_MS = 300;

/**
 * Says what it is asked to, and stops as it is asked to. Its first word has a meaning: `slow` takes
 * 50 ms a word, `seeded` gives four words that follow from the seed, `differing` fails
 * after its first words, and says other ones when it is asked again.
 *
 * @param generations gets all of them, in order.
 */
export function scriptedBackend(generations: Generating[]): Backend {
  const plain = instantBackend();
  const slow = instantBackend({ pieceMs: SLOW_MS });
  const seeded = instantBackend({ answer: ({ seed }) => wordsOf(seed) });
  return {
    ...plain,
    async generate(request, onText, signal) {
      const text = request.prompt ?? request.messages.at(-1)?.content ?? '';
      const generating = { text, isOver: false, isAborted: false };
      const isFirst = !generations.some((other) => other.text === text);
      generations.push(generating);
      signal.addEventListener('abort', () => (generating.isAborted = true));
      const [word = ''] = text.split(' ');
      if (word === 'differing' && isFirst) {
        onText('the first words ');
        await sleep(FLUSH_MS);
        throw new BackendFailedError('it was told to');
      }
      const backend = { slow, seeded }[word] ?? plain;
      const scanner = new StopScanner(request.stop);
      const full = new AbortController();
      let said = '';
      const say = (piece: string) => {
        said += piece;
        if (piece) onText(piece);
      };
      const hear = (piece: string) => {
        say(scanner.push(piece));
        if (scanner.stopped) full.abort();
      };
      const either = AbortSignal.any([signal, full.signal]);
      const generation = await backend.generate(request, hear, either);
      say(scanner.end());
      generating.isOver = true;
      return scanner.stopped ? { ...generation, text: said, finishReason: 'stop' } : generation;
    },
  };
}

function wordsOf(seed: number): string[] {
  const digest = createHash('sha256').update(String(seed)).digest('hex');
  return [0, 8, 16, 24].map((from) => `${digest.slice(from, from + 8)} `);
}

import { setTimeout as sleep } from 'node:timers/promises';
import { instantBackend } from '../../bench/instant-backend.ts';
import type { ErrorCode } from '../../protocol/errors.ts';
import { lies } from './check-scene.ts';
import type { Behaviour } from './test-node.ts';

/** A node whose proofs are right and whose results are not. */
export interface Liar {
  readonly name: string;
  /** What it is removed for. */
  readonly code: ErrorCode;
  readonly behaviour: Behaviour;
}

/** Says what an honest node would, but not all of it, as if that were the end. */
const truncates: Behaviour = (honest) =>
  honest({ backend: instantBackend({ answer: () => ['one ', 'two '] }) });

/** Has an answer before it has read the question. */
const answersBeforehand: Behaviour = async (honest) => {
  const returned = await honest({ backend: instantBackend({ answer: () => ['yes'] }) });
  await sleep(0);
  return { ...returned, finishedAtMs: returned.decryptedAtMs };
};

/** Says that the prompt was longer than it is, and so costs more. */
const inflates: Behaviour = (honest) => {
  const backend = instantBackend();
  return honest({
    backend: {
      ...backend,
      generate: async (...call) => {
        const generation = await backend.generate(...call);
        return { ...generation, promptTokens: generation.promptTokens + 5 };
      },
    },
  });
};

const code = 'node.removed_wrong_results';

export const LIARS: readonly Liar[] = [
  { name: 'computes something else', code, behaviour: lies() },
  { name: 'truncates its answers', code, behaviour: truncates },
  { name: 'answers before it runs', code, behaviour: answersBeforehand },
  { name: 'counts more of the prompt than there is', code, behaviour: inflates },
];

/** Returns its first PoE again and again, beside results that are right. */
export function replayer(): Behaviour {
  let first: { poe: string; signature: string } | undefined;
  return async (honest) => {
    const returned = await honest();
    first ??= { poe: returned.poe, signature: returned.signature };
    return { ...returned, ...first };
  };
}

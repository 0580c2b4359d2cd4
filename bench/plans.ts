import type { Plan } from './measure.ts';
import type { AddedPlan } from './streaming/added.ts';
import type { OpenStreamsPlan } from './streaming/open-streams.ts';

/** What can be measured on its own, in this order. */
export const PARTS = ['requests', 'added', 'streams'] as const;
export type Part = (typeof PARTS)[number];

/** How much of each part is measured. */
export interface Plans {
  readonly requests: Plan;
  readonly added: AddedPlan;
  /** With the nodes that work on so many streams at once, 256 each at most. */
  readonly streams: OpenStreamsPlan & { readonly nodes: number };
}

/** As a model of some 8 billion parameters on one GPU answers. */
const PACE = { tokens: 64, firstTokenMs: 100, tokenMs: 25 } as const;

export const FULL: Plans = {
  requests: {
    inFlightLevels: [1, 16, 64],
    repetitions: 5,
    secondsPerRun: 4,
    warmUpSeconds: 30,
    pollers: 1_000,
  },
  added: {
    inFlightLevels: [1, 16, 64],
    repetitions: 5,
    secondsPerRun: 8,
    warmUpSeconds: 15,
    pace: PACE,
  },
  // Pings come every 15 seconds: two of them are in each run. A node more than is needed, since one
  // that was slow to answer once is measured before it gets work again.
  streams: {
    levels: [250, 500, 1_000],
    secondsPerRun: 30,
    settledSeconds: 5,
    tokensPerSecond: 100,
    nodes: 5,
  },
};

export const QUICK: Plans = {
  requests: {
    inFlightLevels: [1, 4],
    repetitions: 1,
    secondsPerRun: 1,
    warmUpSeconds: 1,
    pollers: 20,
  },
  added: {
    inFlightLevels: [1, 4],
    repetitions: 1,
    secondsPerRun: 1,
    warmUpSeconds: 1,
    pace: PACE,
  },
  streams: { levels: [8, 32], secondsPerRun: 2, settledSeconds: 1, tokensPerSecond: 16, nodes: 1 },
};

/**
 * The parts that a comma-separated list names; all of them for an empty one.
 *
 * @throws RangeError that names what isn't a part.
 */
export function partsOf(list: string): readonly Part[] {
  if (list === '') return PARTS;
  const names = list.split(',');
  const unknown = names.filter((name) => !PARTS.some((part) => part === name));
  if (unknown.length > 0)
    throw new RangeError(`--only ${unknown.join(',')}: the parts are ${PARTS.join(', ')}`);
  return PARTS.filter((part) => names.includes(part));
}

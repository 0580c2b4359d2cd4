import { errorDefinition, isErrorCode, type ErrorCode } from './errors.ts';
import type { UnitId } from './ids.ts';

/** How a node comes and goes where nothing failed, by code, with a sentence for people. */
const ARRIVALS = {
  'node.online': 'It is online.',
  'node.ready': 'Its backend can serve again.',
  'node.left': 'It said goodbye, and is offline.',
  'node.probing': 'It shows again that it can serve: until it has, no uptime counts.',
  'node.removed': 'It was taken out of the pool.',
  'node.reinstated': 'It was let into the pool again.',
} as const;

/** What takes a node's capacity away: rows of docs/errors.md. */
export const LOSSES = [
  'node.heartbeat_lost',
  'node.backend_gone',
  'node.draining',
] as const satisfies readonly ErrorCode[];

/** A change of a node's presence: it is logged, and appended to the node's history. */
export type TransitionCode = keyof typeof ARRIVALS | (typeof LOSSES)[number];

/** Every code of a transition. */
export const TRANSITION_CODES: readonly TransitionCode[] = [
  ...(Object.keys(ARRIVALS) as (keyof typeof ARRIVALS)[]),
  ...LOSSES,
];

/** What a transition means, for people. */
export function transitionMessage(code: string): string {
  if (isErrorCode(code)) return errorDefinition(code).message;
  return Object.hasOwn(ARRIVALS, code)
    ? ARRIVALS[code as keyof typeof ARRIVALS]
    : `Unknown event ${code}.`;
}

/** What the next heartbeat of a node answers, so that none can be made before, or said twice. */
export interface Challenge {
  readonly sequence: number;
  /** See `crypto/heartbeat.ts`. */
  readonly nonce: string;
}

/** Attempts that one heartbeat may name: a node has no more slots. */
export const RUNNING_MAX = 256;

/** An attempt as its node names it. */
export interface RunningAttempt {
  readonly unitId: UnitId;
  /** What the node was told instead of the dispatch number: see `crypto/channel.ts`. */
  readonly dispatch: number;
}

/** What a node says of itself with each heartbeat. */
export interface Heartbeat {
  /** Whether its backend can serve. */
  readonly ready: boolean;
  /** What it executes. A slot that it doesn't name is free as soon as its attempt is decided. */
  readonly running: readonly RunningAttempt[];
}

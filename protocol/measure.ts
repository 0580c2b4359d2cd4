import type { ExecuteLimits } from './execute.ts';

/**
 * How nodes are measured: what they can do is attested from requests that a coordinator timed, in
 * the measure of step 3 (`complexityTokens`), and a node's own word only informs. The arithmetic of
 * `blend` and `attestedTier` is repeated in SQL (prisma/migrations/0005_measurement), so that a
 * validated result costs no round trip more; a test proves the two equal.
 */

/** Sums over samples, older ones counting less. All zero for a node that was never measured. */
export interface Measured {
  readonly tokens: number;
  readonly seconds: number;
}

/** What a sample still counts when the next one comes: the last twenty make two thirds. */
const DECAY = 0.95;
const TOKENS_MAX = 1e6;
/** Below what any clock here tells apart. */
const SECONDS_MIN = 0.001;
const SECONDS_MAX = 1e6;

/** Of a model that the network hasn't got, and the default of the others. */
export const TIER_FLOORS_DEFAULT: readonly number[] = [0, 1, 2, 4, 8];

/**
 * Adds a sample. The throughput is the quotient of the sums, which errs towards slower: a slow
 * sample has more seconds, and so more weight, than a fast one.
 *
 * @param tokens of the sample; taken as at least 1.
 * @param seconds by a clock of the coordination plane; a millisecond at least.
 * @returns the sums as they were, for a sample that isn't of numbers.
 */
export function blend(known: Measured, tokens: number, seconds: number): Measured {
  if (!Number.isFinite(tokens) || !Number.isFinite(seconds)) return known;
  return {
    tokens: known.tokens * DECAY + Math.min(Math.max(tokens, 1), TOKENS_MAX),
    seconds: known.seconds * DECAY + Math.min(Math.max(seconds, SECONDS_MIN), SECONDS_MAX),
  };
}

/** @returns tokens per second; 0 for a node that was never measured. */
export function throughput({ tokens, seconds }: Measured): number {
  return seconds > 0 ? tokens / seconds : 0;
}

/**
 * The highest tier whose floor the throughput clears, and no higher than what the node claims.
 *
 * @param floors of the model: tokens per second of tiers 1 to 5, ascending, the first one 0.
 */
export function attestedTier(
  claimedTier: number,
  tokensPerSecond: number,
  floors: readonly number[],
): number {
  const cleared = floors.filter((floor) => floor <= tokensPerSecond).length;
  return Math.max(1, Math.min(claimedTier, cleared));
}

/** By nothing that it says can a node have its next canary sooner: each costs a workflow. */
export const PROBE_PAUSE_SECONDS = 5;
const BACKOFF_SECONDS_MIN = PROBE_PAUSE_SECONDS;
const BACKOFF_SECONDS_MAX = 60;

/**
 * How long a node waits for its next canary.
 *
 * @param failures canaries in a row that failed, 1 or more.
 */
export function probeBackoffSeconds(failures: number): number {
  // Bounded before the power: 2 to a large number is Infinity, which the minimum bears as well.
  return Math.min(BACKOFF_SECONDS_MIN * 2 ** Math.max(0, failures - 1), BACKOFF_SECONDS_MAX);
}

/** A node that is idle for so long is measured again: its latest sample may be an unlucky one. */
export const REMEASURE_SECONDS = 15 * 60;

/** A canary's request: as small as a request can be that still measures something. */
export const CANARY_MAX_TOKENS = 24;
export const CANARY_DEADLINE_SECONDS = 20;
/** A node begins to poll its queue only after it has registered. */
const CANARY_PICKUP_MS = 10_000;
/** More than a canary takes from its start to its end; one that took longer was lost. */
export const CANARY_LOST_SECONDS = 65;
const CANARY_TRIES_MAX = 2;
const CANARY_SLOW_MS = 2_000;

/** The durable limits of a canary's execution, from those of any. */
export function canaryLimits(limits: ExecuteLimits, attempt: number): ExecuteLimits {
  return attempt > 1 ? limits : { ...limits, scheduleToStartMs: CANARY_PICKUP_MS };
}

/**
 * Whether to measure once more before anything is concluded: a slow canary may have waited for its
 * node to begin to poll, which says nothing of how fast the node is. The next one doesn't wait.
 */
export function isMeasuredAgain(attempt: number, elapsedMs: number): boolean {
  return attempt < CANARY_TRIES_MAX && elapsedMs > CANARY_SLOW_MS;
}

/** What a registration says of a node, as far as its measurement hangs on it. */
export interface MeasuredClaims {
  readonly machineId: string;
  readonly modelDigest: string;
  readonly engine: string;
  readonly tier: number;
  readonly slots: number;
  /** SPKI DER in base64. */
  readonly encryptionKey: string;
}

/** What a registration of a known node means for what was measured of it. */
export type Remeasure =
  /** It is what it was: as after a restart. */
  | 'keep'
  /** It has to show again that it can serve; what was measured goes on counting. */
  | 'probe'
  /** Another model, engine or machine: what was measured was something else. */
  | 'anew';

export function remeasure(known: MeasuredClaims & Measured, claimed: MeasuredClaims): Remeasure {
  if (!(known.seconds > 0) || !isSameSubject(known, claimed)) return 'anew';
  const isMore = claimed.tier > known.tier || claimed.slots > known.slots;
  return isMore || known.encryptionKey !== claimed.encryptionKey ? 'probe' : 'keep';
}

/** Whether a node claims what it claimed before, so that a canary under way measures it still. */
export function isUnchanged(known: MeasuredClaims, claimed: MeasuredClaims): boolean {
  return (
    isSameSubject(known, claimed) &&
    known.tier === claimed.tier &&
    known.slots === claimed.slots &&
    known.encryptionKey === claimed.encryptionKey
  );
}

/** Whether a measurement of the one says anything of the other. */
function isSameSubject(known: MeasuredClaims, claimed: MeasuredClaims): boolean {
  return (
    known.machineId === claimed.machineId &&
    known.modelDigest === claimed.modelDigest &&
    known.engine === claimed.engine
  );
}

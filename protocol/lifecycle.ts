/**
 * The nine steps, in the specification's canonical order and words (spec §3.0).
 *
 * Terminology
 * - *unit*: what is matched to a node: a whole inference request, or one sub-task.
 * - *path*: `inference` (the request stays whole, steps 2 and 8 are skipped) or `general` (all
 *   nine).
 * - *dispatch*: one attempt at a unit by one node, numbered from 1 within the unit.
 * - *plane*: where a step runs: with the coordinator, or on the operator's machine.
 * - *PoE*: Proof-of-Execution, a signed hash commitment of one node to one result of one unit.
 * - *sealed*: encrypted so that only the named recipients can open it.
 */

import type { NodeId } from './ids.ts';

export type Stage = 'ingestion' | 'execution' | 'settlement';
export type Plane = 'coordination' | 'execution';
export type Path = 'inference' | 'general';

/** What happens after a failure (spec §3.4). */
export type Recovery =
  /** Final for the call: the caller is told; at Receive nothing was allocated or charged. */
  | 'reject'
  /** The unit is held until a candidate appears or its deadline elapses. */
  | 'wait'
  /** The attempt is discarded; Schedule finds a fresh node, within the dispatch budget. */
  | 'redispatch'
  /** The unit ends; what was reserved is released. */
  | 'fail'
  /** Another node is asked, and the majority decides. */
  | 'vote'
  /** The work stands; its record says what couldn't be checked. */
  | 'accept'
  /** The node leaves the pool, until somebody lets it in again. */
  | 'remove'
  /** The step is tried again where it is: its effects are idempotent. */
  | 'retry';

interface StepDefinition {
  readonly number: number;
  readonly name: string;
  readonly title: string;
  readonly stage: Stage;
  readonly plane: Plane;
  /** Which step's handler takes over when this one fails; the specification's cascade. */
  readonly recoveredBy: string;
  readonly paths: readonly Path[];
}

const both: readonly Path[] = ['inference', 'general'];
const general: readonly Path[] = ['general'];

/** The steps in canonical order. `number` is the specification's, and never changes. */
export const STEPS = [
  step(1, 'receive', 'Receive request', 'ingestion', 'coordination', 'receive', both),
  step(2, 'segment', 'Segment', 'ingestion', 'coordination', 'receive', general),
  step(3, 'schedule', 'Schedule', 'ingestion', 'coordination', 'schedule', both),
  step(4, 'dispatch', 'Dispatch', 'execution', 'coordination', 'schedule', both),
  step(5, 'execute', 'Execute', 'execution', 'execution', 'schedule', both),
  step(6, 'prove', 'Proof-of-Execution', 'execution', 'execution', 'schedule', both),
  step(7, 'validate', 'Validate', 'settlement', 'coordination', 'schedule', both),
  step(8, 'aggregate', 'Aggregate', 'settlement', 'coordination', 'aggregate', general),
  step(9, 'settle', 'Settle', 'settlement', 'coordination', 'settle', both),
] as const satisfies readonly StepDefinition[];

export type Step = (typeof STEPS)[number];
export type StepName = Step['name'];

/** Every unit of work ends in exactly one of these (design §9). */
export const FINAL_STATES = [
  'completed',
  'rejected',
  'failed',
  'cancelled',
  'invalidated',
] as const;
export type FinalState = (typeof FINAL_STATES)[number];

/** Whether a step is part of a path; the others are shown as skipped. */
export function isOnPath(name: StepName, path: Path): boolean {
  const paths: readonly Path[] = stepNamed(name).paths;
  return paths.includes(path);
}

/** @throws RangeError for a name that is no step. */
export function stepNamed(name: StepName): Step {
  const found = STEPS.find((candidate) => candidate.name === name);
  if (!found) throw new RangeError(`${name} is not a step of the lifecycle`);
  return found;
}

/** What is known of one step of one request, for the record and for whoever watches. */
export interface StepRecord {
  readonly step: StepName;
  readonly state: 'done' | 'skipped' | 'running' | 'waiting' | 'failed' | 'pending';
  /** Wall-clock time spent in the step; absent while it isn't over. */
  readonly elapsedMs?: number;
  /** The attempt that the record is about; absent where no node is involved. */
  readonly dispatch?: number;
  readonly node?: NodeId;
  /** Short and free of secrets: it is shown in Temporal UI. */
  readonly note?: string;
}

/** What is said of a step that nothing is known of yet. */
export function unseenStep(step: StepName, path: Path): StepRecord {
  return isOnPath(step, path) ? { step, state: 'pending' } : { step, state: 'skipped', note: path };
}

/**
 * The nine steps of a request that was received and has no run: its run is just being started, or
 * its start was lost.
 *
 * @param failureCode what ended it; null while it may still start.
 */
export function stepsWithoutRun(path: Path, failureCode: string | null): StepRecord[] {
  return STEPS.map(({ name }) => {
    if (name !== 'receive') return unseenStep(name, path);
    if (failureCode !== null) return { step: name, state: 'failed', note: failureCode };
    return { step: name, state: 'done' };
  });
}

function step<Name extends string>(
  number: number,
  name: Name,
  title: string,
  stage: Stage,
  plane: Plane,
  recoveredBy: StepName_,
  paths: readonly Path[],
) {
  return { number, name, title, stage, plane, recoveredBy, paths } as const;
}

type StepName_ = 'receive' | 'schedule' | 'aggregate' | 'settle';

import type { ComparatorName } from './compare/comparator.ts';
import type { Path } from './lifecycle.ts';

/** What kind of work a unit is: it decides path, comparison of results and how size is measured. */
export interface WorkloadClass {
  readonly path: Path;
  /** What a node needs to run it. */
  readonly runtime: 'model';
  /** How two results are compared when a unit is checked (spec step 07): `comparatorOf` has it. */
  readonly comparator: { readonly name: ComparatorName; readonly version: number };
  /** Whether only results of one equivalence class can be compared, or others too if need be. */
  readonly equivalence: 'required' | 'preferred';
  /** How often honest nodes disagree, as measured: below 0.1 % counts as that (design §7). */
  readonly honestErrorRate: number;
  /** The share of units that is checked, unless the network sets another. */
  readonly samplingRate: number;
  /** Unit of `complexity`, which orders the queue and estimates the time. */
  readonly complexityMeasure: 'tokens';
}

/** The live classes. A class that isn't here is refused at Receive. */
export const WORKLOAD_CLASSES = {
  'ai.inference': {
    path: 'inference',
    runtime: 'model',
    comparator: { name: 'llm', version: 1 },
    equivalence: 'required',
    honestErrorRate: 0.001,
    samplingRate: 0.05,
    complexityMeasure: 'tokens',
  },
} as const satisfies Record<string, WorkloadClass>;

export type WorkloadClassName = keyof typeof WORKLOAD_CLASSES;

/** What there is to know of a class. */
export function workloadClass(name: WorkloadClassName): WorkloadClass {
  return WORKLOAD_CLASSES[name];
}

/** Whether a name, from outside perhaps, is a live workload class. */
export function isWorkloadClass(name: string): name is WorkloadClassName {
  return Object.hasOwn(WORKLOAD_CLASSES, name);
}

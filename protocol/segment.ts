import type { RequestId } from './ids.ts';
import { isOnPath } from './lifecycle.ts';
import { WORKLOAD_CLASSES, type WorkloadClassName } from './workload.ts';

/** The units that a piece of work is served as. */
export type Segmentation = { readonly kind: 'whole'; readonly units: readonly [RequestId] };

/**
 * Step 2. Autoregressive generation can't be split across nodes, so an inference request skips the
 * step and is its own single unit (spec step 02). Every live workload class is on that path.
 *
 * @throws RangeError for a class whose path has the step: such work isn't accepted by Receive.
 */
export function segment(requestId: RequestId, workloadClass: WorkloadClassName): Segmentation {
  if (isOnPath('segment', WORKLOAD_CLASSES[workloadClass].path))
    throw new RangeError(`${workloadClass} has to be segmented by its dependency graph`);
  return { kind: 'whole', units: [requestId] };
}

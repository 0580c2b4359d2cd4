import { isOnPath } from './lifecycle.ts';
import { WORKLOAD_CLASSES, type WorkloadClassName } from './workload.ts';

/**
 * Step 8. A whole inference request has a single result, which is its deliverable (spec step 08):
 * the step is skipped and the one result handed on as it is.
 *
 * @throws RangeError for more or fewer results than one, or a class whose path has the step.
 */
export function aggregate<Result>(
  workloadClass: WorkloadClassName,
  results: readonly Result[],
): Result {
  if (isOnPath('aggregate', WORKLOAD_CLASSES[workloadClass].path))
    throw new RangeError(`${workloadClass} has to be aggregated by its dependency graph`);
  const [only, ...others] = results;
  if (only === undefined || others.length > 0)
    throw new RangeError(`a whole request has one result, not ${results.length}`);
  return only;
}

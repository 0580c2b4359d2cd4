import type { CanaryInput, CanaryOutcome } from '../activities/canary.ts';
import { canaryLimits } from '../protocol/measure.ts';
import { nodeActivities, steps } from './activities.ts';
import { executeFailureCode } from './failures.ts';

/**
 * A request of the network's own to one node, by which it is measured and shows that it can serve.
 * Whatever the node does the outcome is a value; the sweeper starts the next one.
 */
export async function canary(input: CanaryInput): Promise<CanaryOutcome> {
  const prepared = await steps.prepareCanary(input);
  if (prepared === null) return { kind: 'superseded' };
  const { execute, ...expected } = prepared;
  const { parameters, payloadBytes } = expected.request;
  const node = nodeActivities(input.nodeId, parameters.deadlineSeconds, payloadBytes, canaryLimits);
  let answer;
  try {
    answer = { returned: await node.execute(execute) };
  } catch (error) {
    answer = { failure: executeFailureCode(error) };
  }
  return steps.concludeCanary({ ...input, ...expected, ...answer });
}

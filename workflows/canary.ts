import type {
  CanaryInput,
  CanaryOutcome,
  CanaryReturn,
  PreparedCanary,
} from '../activities/canary.ts';
import type { NodeId } from '../protocol/ids.ts';
import { canaryLimits, isMeasuredAgain } from '../protocol/measure.ts';
import { nodeActivities, steps } from './activities.ts';
import { executeFailureCode } from './failures.ts';

/**
 * A request of the network's own to one node, by which it is measured and shows that it can serve.
 * Whatever the node does the outcome is a value; the sweeper starts the next one.
 */
export async function canary(input: CanaryInput): Promise<CanaryOutcome> {
  for (let attempt = 1; ; attempt++) {
    const prepared = await steps.prepareCanary(input);
    if (prepared === null) return { kind: 'superseded' };
    const { execute: _sent, ...expected } = prepared;
    const sentAtMs = Date.now();
    const answer = await answered(input.nodeId, attempt, prepared);
    if ('returned' in answer && isMeasuredAgain(attempt, Date.now() - sentAtMs)) continue;
    return steps.concludeCanary({ ...input, ...expected, ...answer });
  }
}

/** What the node returned, or the code of why it returned nothing. */
async function answered(
  nodeId: NodeId,
  attempt: number,
  { execute, request }: PreparedCanary,
): Promise<Pick<CanaryReturn, 'returned'> | Pick<CanaryReturn, 'failure'>> {
  const { parameters, payloadBytes } = request;
  const node = nodeActivities(nodeId, parameters.deadlineSeconds, payloadBytes, (limits) =>
    canaryLimits(limits, attempt),
  );
  try {
    return { returned: await node.execute(execute) };
  } catch (error) {
    return { failure: executeFailureCode(error) };
  }
}

import {
  ActivityCancellationType,
  proxyActivities,
  proxyLocalActivities,
} from '@temporalio/workflow';
import type { Steps } from '../activities/steps.ts';
import { executeLimits, type ExecuteLimits, type NodeActivities } from '../protocol/execute.ts';
import { nodeQueue } from '../protocol/queues.ts';
import type { NodeId } from '../protocol/ids.ts';

/**
 * The coordinator's own steps: short database work, so they run as local activities and cost one
 * history event each. They are tried until they succeed: all their effects are idempotent, and
 * what can't succeed throws non-retryably. A retry that has to wait longer than 500 ms leaves the
 * workflow task, or a database outage would hold every workflow-task slot for a minute.
 */
export const steps = proxyLocalActivities<Steps>({
  startToCloseTimeout: '5s',
  localRetryThreshold: '500ms',
  retry: { initialInterval: '100ms', backoffCoefficient: 2, maximumInterval: '10s' },
});

/**
 * The node's step. One attempt, because a Temporal retry would reach the same node: re-dispatch is
 * the workflow's decision. Cancelled, it may still return what it made: how long that is waited for
 * is the workflow's decision, too.
 *
 * @param adjust makes of the usual limits those of an unusual execution.
 */
export function nodeActivities(
  nodeId: NodeId,
  deadlineSeconds: number,
  payloadBytes: number,
  adjust: (limits: ExecuteLimits) => ExecuteLimits = (limits) => limits,
): Pick<ReturnType<typeof proxyActivities<NodeActivities>>, 'execute'> {
  const limits = adjust(executeLimits(deadlineSeconds, payloadBytes));
  return proxyActivities<NodeActivities>({
    taskQueue: nodeQueue(nodeId),
    scheduleToStartTimeout: limits.scheduleToStartMs,
    startToCloseTimeout: limits.startToCloseMs,
    heartbeatTimeout: limits.heartbeatMs,
    retry: { maximumAttempts: 1 },
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  });
}

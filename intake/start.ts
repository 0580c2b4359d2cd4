import {
  WorkflowExecutionAlreadyStartedError,
  type Client,
  type WorkflowStartOptions,
} from '@temporalio/client';
import { defineSearchAttributeKey } from '@temporalio/common';
import { COORDINATOR_QUEUE } from '../protocol/queues.ts';
import { PRIORITY_KEYS, type AcceptedInference } from '../protocol/receive.ts';
import type { inference } from '../workflows/inference.ts';

const WORKLOAD_CLASS = defineSearchAttributeKey('plxWorkloadClass', 'KEYWORD');
const ACCOUNT = defineSearchAttributeKey('plxAccount', 'KEYWORD');
const PRIORITY = defineSearchAttributeKey('plxPriority', 'KEYWORD');

/**
 * Starts the workflow of an accepted request, once: a second start of the same request is not an
 * error. The start is eager, so the first workflow task runs in this process without a poll.
 */
export async function startInference(client: Client, accepted: AcceptedInference): Promise<void> {
  try {
    await client.workflow.start<typeof inference>('inference', startOptions(accepted));
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
}

function startOptions(accepted: AcceptedInference): WorkflowStartOptions<typeof inference> {
  const { requestId, parameters, accountId } = accepted;
  return {
    workflowId: requestId,
    taskQueue: COORDINATOR_QUEUE,
    args: [accepted],
    requestEagerStart: true,
    workflowIdReusePolicy: 'REJECT_DUPLICATE',
    priority: { priorityKey: PRIORITY_KEYS[parameters.priority], fairnessKey: accountId },
    typedSearchAttributes: [
      { key: WORKLOAD_CLASS, value: parameters.workloadClass },
      { key: ACCOUNT, value: accountId },
      { key: PRIORITY, value: parameters.priority },
    ],
    staticSummary: `${parameters.workloadClass} · ${parameters.model} · ${parameters.priority}`,
    staticDetails: [
      'One inference request through the nine steps; 2 and 8 are skipped.',
      '',
      `- up to **${parameters.maxTokens}** tokens, tier **${parameters.hardwareTier}** or up`,
      `- deadline **${parameters.deadlineSeconds} s**, reserved **${accepted.reservedWei} wei**`,
      '- the payload is sealed: this history holds no plaintext',
    ].join('\n'),
  };
}

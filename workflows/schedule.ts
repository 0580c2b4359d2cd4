import { condition, defineSignal, setHandler } from '@temporalio/workflow';
import type { CheckRequirements } from '../activities/checkers.ts';
import type { Assignment } from '../activities/schedule.ts';
import type { NodeId } from '../protocol/ids.ts';
import type { AcceptedInference } from '../protocol/receive.ts';
import { steps } from './activities.ts';
import type { UnitRun } from './attempt.ts';
import type { StepProgress } from './progress.ts';

/** Sent to a waiting unit when capacity appeared. It is only a hint: Schedule decides. */
export const wakeSignal = defineSignal('wake');

/** Lets the signal be noticed from now on. */
export function awaitWake(): UnitRun['wake'] {
  const wake = { isSet: false };
  setHandler(wakeSignal, () => void (wake.isSet = true));
  return wake;
}

/** What is asked of Schedule. */
export interface Asked {
  readonly dispatch: number;
  readonly usedNodes: readonly NodeId[];
  readonly deadlineAtMs: number;
  /** There for a check. */
  readonly check?: CheckRequirements;
}

/** Step 3: holds the unit until a node can take it; null when none could before the deadline. */
export async function scheduled(
  { unitId, request, wake }: UnitRun,
  { dispatch, usedNodes, deadlineAtMs, check }: Asked,
  progress: StepProgress,
): Promise<Assignment | null> {
  const asCheck = check ? { check } : {};
  for (;;) {
    wake.isSet = false;
    progress.running('schedule', { dispatch });
    const answer = await steps.schedule.executeWithOptions({ summary: '3 Schedule' }, [
      {
        unitId,
        dispatch,
        usedNodes,
        ...asCheck,
        request: { ...schedulable(request), deadlineAtMs },
      },
    ]);
    if (answer.kind === 'assigned') {
      progress.done('schedule', answer.elapsedMs, { dispatch, node: answer.node.nodeId });
      return answer.node;
    }
    const remainingMs = deadlineAtMs - Date.now();
    if (answer.kind !== 'waiting' || remainingMs <= 0) {
      progress.failed('schedule', { dispatch, note: 'schedule.deadline_elapsed' });
      return null;
    }
    progress.waiting('schedule', { dispatch });
    await condition(() => wake.isSet, remainingMs);
  }
}

// The step gets what it needs and no more: the payload isn't copied through history again.
function schedulable(request: AcceptedInference) {
  const { parameters, modelDigest, complexity, acceptedAtMs, payloadBytes, accountId } = request;
  return { parameters, modelDigest, complexity, acceptedAtMs, payloadBytes, accountId };
}

import type { Logger } from 'pino';
import { isRefusal } from '../protocol/dispatch.ts';
import { errorDefinition } from '../protocol/errors.ts';
import { shortId, type NodeId } from '../protocol/ids.ts';
import type { RemovalCode } from '../protocol/removal.ts';
import { concludeCanary, prepareCanary, type CanaryInput, type CanaryReturn } from './canary.ts';
import { dispatch, type DispatchDependencies, type DispatchInput } from './dispatch.ts';
import { explainNode, explainUnit } from './explain.ts';
import { othersExist } from './other-nodes.ts';
import { reportFailure, type ReportFailureInput } from './report-failure.ts';
import { schedule, type ScheduleInput } from './schedule.ts';
import { settle, type SettleInput, type SettleResult } from './settle.ts';
import { takeCancelled } from './take-cancelled.ts';
import { validate, type ValidateDependencies, type ValidateInput } from './validate.ts';
import { vote, type VoteInput } from './vote.ts';

export interface StepDependencies extends DispatchDependencies, ValidateDependencies {
  /** Where this coordinator takes stream frames. */
  readonly coordinatorUrl: string;
  /** Called when a slot may have become free, after the transaction that freed it. */
  readonly onCapacity: () => void;
  /** Called when a unit begins to wait for capacity. */
  readonly onWaiting: () => void;
  /** Called once a request is settled; again if it is settled again. */
  readonly onSettled: (input: SettleInput, result: SettleResult) => void;
  readonly log: Logger;
}

/** The coordinator's local activities, one per step, over what each of them needs. */
export function createSteps(dependencies: StepDependencies) {
  const { database, coordinatorUrl, onCapacity, onWaiting, onSettled, log } = dependencies;
  return {
    async schedule(input: ScheduleInput) {
      const result = await schedule(database, coordinatorUrl, input);
      const node = result.kind === 'assigned' ? shortId(result.node.nodeId) : null;
      const at = { unit: shortId(input.unitId), dispatch: input.dispatch, node };
      log.info(at, `scheduler // match: ${result.kind}`);
      if (result.kind === 'waiting') onWaiting();
      return result;
    },

    async dispatch(input: DispatchInput) {
      const result = await dispatch(dependencies, input);
      log.info(
        { unit: shortId(input.unitId), dispatch: input.dispatch, node: shortId(input.node.nodeId) },
        'coordinator // dispatch: sealed to node.pub',
      );
      return result;
    },

    async validate(input: ValidateInput) {
      const result = await validate(dependencies, input);
      const at = { unit: shortId(input.unitId), dispatch: input.dispatch };
      if (result.kind === 'accepted') log.info(at, 'coordinator // validate: hash check ok');
      else log.warn({ ...at, code: result.code }, 'coordinator // validate: rejected');
      onCapacity();
      return result;
    },

    async takeCancelled(input: ValidateInput) {
      const result = await takeCancelled(dependencies, input);
      const at = { unit: shortId(input.unitId), dispatch: input.dispatch };
      if (result.kind === 'taken') log.info(at, 'coordinator // cancelled: the node has stopped');
      else log.warn({ ...at, code: result.code }, 'coordinator // cancelled: rejected, free');
      onCapacity();
      return result;
    },

    /** Runs that an earlier version began have no answer of it in their history. */
    async reportFailure(input: ReportFailureInput): Promise<{ othersExist: boolean } | undefined> {
      const { excused, removed } = await reportFailure(database, input);
      const { unitId, dispatch, nodeId, code } = input;
      const at = { unit: shortId(unitId), dispatch, node: shortId(nodeId), code, excused };
      log.warn(at, 'coordinator // attempt failed');
      if (removed) logRemoval(log, nodeId, 'node.removed_bad_proofs');
      onCapacity();
      // Only a refusal asks for it.
      const { request, usedNodes } = input;
      const areOthers = !isRefusal(code) || (await othersExist(database, request, usedNodes));
      return { othersExist: areOthers };
    },

    async settle(input: SettleInput) {
      const result = await settle(database, input);
      onSettled(input, result);
      const { requestId, state, code } = input;
      const at = { request: shortId(requestId), state, code, chargedWei: result.chargedWei };
      log.info(at, 'coordinator // settle');
      return result;
    },
    ...voteSteps(dependencies),
    ...canarySteps(dependencies),

    explainUnit: (unitId: string) => explainUnit(database, unitId),
    explainNode: (nodeId: string) => explainNode(database, nodeId),
  };
}

/** Check 2 of step 7. */
function voteSteps(dependencies: StepDependencies) {
  const { log } = dependencies;
  return {
    async vote(input: VoteInput) {
      const result = await vote(dependencies, input);
      const { unitId, votes } = input;
      const of = (node: NodeId) => shortId(node);
      const at = { unit: shortId(unitId), nodes: votes.map(({ node }) => of(node.nodeId)) };
      if (result.kind === 'undecided') log.warn(at, 'coordinator // check: one more is asked');
      else {
        const { outcome, removed } = result;
        log[outcome === 'agreed' ? 'info' : 'warn'](at, `coordinator // check: ${outcome}`);
        for (const nodeId of removed) logRemoval(log, nodeId, 'node.removed_wrong_results');
      }
      return result;
    },
  };
}

function logRemoval(log: Logger, nodeId: NodeId, code: RemovalCode): void {
  const { message } = errorDefinition(code);
  log.error({ node: shortId(nodeId), code }, `coordinator // node removed: ${message}`);
}

/** By which a node is measured: no request, but the same steps 3 to 7. */
function canarySteps(dependencies: StepDependencies) {
  const { onCapacity, log } = dependencies;
  return {
    prepareCanary: (input: CanaryInput) => prepareCanary(dependencies, input),

    async concludeCanary(input: CanaryReturn) {
      const outcome = await concludeCanary(dependencies, input);
      const { kind, ...found } = outcome;
      const at = { node: shortId(input.nodeId), probe: input.probe, ...found };
      if (kind === 'failed') log.warn(at, 'coordinator // canary: failed');
      else log.info(at, `coordinator // canary: ${kind}`);
      if (kind === 'passed') onCapacity();
      return outcome;
    },
  };
}

export type Steps = ReturnType<typeof createSteps>;

import { errorDefinition, isErrorCode } from './errors.ts';
import type { NodeId } from './ids.ts';
import {
  estimateSeconds,
  failedFilter,
  missingFeatures,
  ONLINE_SECONDS,
  type Candidate,
  type FailedFilter,
  type NodeStatus,
  type Requirements,
} from './schedule.ts';

/** A node as `explain` looks at it: also those that Schedule doesn't even read. */
export interface ExplainedNode extends Candidate {
  readonly name: string;
  readonly silentSeconds: number;
  readonly slotsTotal: number;
  /** Why its latest canary failed, by a code; null if it didn't. */
  readonly probeCode: string | null;
  /** Until its next canary, while it is probing. */
  readonly probeInSeconds: number;
}

/** An attempt of the unit. `outcome` is `accepted`, a code, or null while it is undecided. */
export interface ExplainedAttempt {
  readonly dispatch: number;
  readonly nodeId: NodeId;
  readonly outcome: string | null;
}

/** The first filter that fails, in Schedule's order, and the sentence for people. */
export interface NodeVerdict {
  readonly failedFilter: FailedFilter | null;
  readonly message: string;
}

/** Why a node could or couldn't take a unit now. */
export function explainNodeForUnit(
  node: ExplainedNode,
  unit: Requirements,
  attempts: readonly ExplainedAttempt[],
  deadlineSeconds: number,
): NodeVerdict {
  const usedNodes = attempts.map(({ nodeId }) => nodeId);
  const failed = failedFilter(node, unit, usedNodes, deadlineSeconds);
  const message = failed
    ? filterMessage(failed, node, unit, attempts, deadlineSeconds)
    : `It could take the request: it needs about ${seconds(estimateSeconds(node, unit))}.`;
  return { failedFilter: failed, message };
}

function filterMessage(
  failed: FailedFilter,
  node: ExplainedNode,
  unit: Requirements,
  attempts: readonly ExplainedAttempt[],
  deadlineSeconds: number,
): string {
  switch (failed) {
    case 'probing':
    case 'draining':
    case 'removed':
      return statusMessage(failed, node);
    case 'offline':
      return offlineMessage(node);
    case 'backend_gone':
      return BACKEND_GONE;
    case 'workload_class':
      return `It doesn't serve the workload class ${unit.workloadClass}.`;
    case 'model':
      return 'It serves other weights than those that were asked for.';
    case 'features':
      return `Its backend can't do what was asked for: ${missingFeatures(node, unit).join(', ')}.`;
    case 'tier':
      return `Its tier is ${node.tier}; tier ${unit.hardwareTier} or up was asked for.`;
    case 'already_used': {
      const attempt = attempts.find(({ nodeId }) => nodeId === node.nodeId);
      const number = attempt?.dispatch ?? 0;
      return attempt?.outcome === null
        ? `It has the request: attempt ${number}.`
        : `It had the request: attempt ${number}. Each node gets a request once.`;
    }
    case 'no_free_slot':
      return slotsMessage(node);
    case 'too_slow_for_deadline':
      break;
  }
  return (
    `It would need about ${seconds(estimateSeconds(node, unit))} for ${unit.complexity} tokens; ` +
    `the deadline allows ${deadlineSeconds} s.`
  );
}

/** What became of an attempt, for people. */
export function outcomeMessage(outcome: string | null, requestEnded: boolean): string {
  if (outcome === 'accepted') return 'Its return was accepted.';
  if (outcome === null)
    return requestEnded ? 'It was given up when the request ended.' : 'It is under way.';
  return isErrorCode(outcome) ? errorDefinition(outcome).message : `Unknown outcome ${outcome}.`;
}

/** One reason why a node has no work, or gets little. Codes are stable. */
export interface NodeReason {
  readonly code:
    | 'removed'
    | 'draining'
    | 'probing'
    | 'offline'
    | 'backend_gone'
    | 'model_not_served'
    | 'not_picking_up'
    | 'no_slots'
    | 'busy'
    | 'nothing_waits'
    | 'nothing_suited'
    | 'others_first'
    | 'about_to_be_woken';
  readonly message: string;
}

export interface NodeSituation {
  readonly node: ExplainedNode;
  /** Outcomes of its latest decided attempts, latest first. */
  readonly recentOutcomes: readonly string[];
  /** Whether any model of the network has this node's weights. */
  readonly modelServed: boolean;
  /** Waiting units, and those that ask for no more than its model and tier. */
  readonly waiting: { readonly total: number; readonly suited: number };
  /** The other nodes of the pool. */
  readonly others: readonly ExplainedNode[];
}

/**
 * Why a node has no work now, or no more of it.
 *
 * @returns at least one reason; those that shut it out come first, what is merely so last.
 */
export function explainNode(situation: NodeSituation): NodeReason[] {
  const hindrances = nodeHindrances(situation);
  const rest = hindrances.length > 0 ? hindrances : idleReasons(situation);
  return [...notPickingUp(situation.recentOutcomes), ...rest];
}

/** Why a node that may get any request has none. */
function idleReasons({ node, waiting, others }: NodeSituation): NodeReason[] {
  if (waiting.suited > 0)
    return [
      {
        code: 'about_to_be_woken',
        message: `Waiting requests that suit it: ${waiting.suited}. They are woken within seconds.`,
      },
    ];
  const reasons: NodeReason[] = [
    waiting.total > 0
      ? {
          code: 'nothing_suited',
          message: `Waiting requests: ${waiting.total}, all for other weights or a higher tier.`,
        }
      : { code: 'nothing_waits', message: 'No request waits: it is ready for the next one.' },
  ];
  const first = others.filter((other) => goesFirst(other, node));
  if (first.length > 0)
    reasons.push({
      code: 'others_first',
      message:
        'The smallest node that fits gets a request; free and smaller now: ' +
        `${first.map(({ name }) => name).join(', ')}.`,
    });
  return reasons;
}

/** What keeps every request away from a node, in the order in which it has to be mended. */
function nodeHindrances({ node, modelServed }: NodeSituation): NodeReason[] {
  const reasons: NodeReason[] = [];
  const add = (code: NodeReason['code'], message: string) => void reasons.push({ code, message });
  if (node.status !== 'active') add(node.status, statusMessage(node.status, node));
  if (!node.online) add('offline', offlineMessage(node));
  if (!node.ready) add('backend_gone', BACKEND_GONE);
  if (!modelServed) add('model_not_served', 'No model of the network has the weights it serves.');
  if (node.slotsTotal === 0) add('no_slots', 'It has no slots.');
  else if (node.freeSlots === 0) add('busy', slotsMessage(node));
  return reasons;
}

/** Schedule doesn't know it: such a node is dispatched to, and every dispatch is lost. */
function notPickingUp(recentOutcomes: readonly string[]): NodeReason[] {
  const other = recentOutcomes.findIndex((code) => code !== 'dispatch.node_unreachable');
  const count = other === -1 ? recentOutcomes.length : other;
  if (count === 0) return [];
  const which = count === 1 ? 'its latest attempt' : `its latest ${count} attempts`;
  const message =
    `It didn't pick up ${which}. A node that sends heartbeats and doesn't poll its queue has ` +
    'lost its connection to Temporal: look there.';
  return [{ code: 'not_picking_up', message }];
}

function goesFirst(other: ExplainedNode, node: ExplainedNode): boolean {
  if (other.status !== 'active' || !other.online || !other.ready || other.freeSlots === 0)
    return false;
  if (other.modelDigest !== node.modelDigest) return false;
  if (other.tier !== node.tier) return other.tier < node.tier;
  return other.throughputPerSecond < node.throughputPerSecond;
}

const BACKEND_GONE = 'It says that its backend can not serve; it gets no work until it can.';

function statusMessage(status: Exclude<NodeStatus, 'active'>, node: ExplainedNode): string {
  switch (status) {
    case 'probing':
      return probingMessage(node);
    case 'draining':
      return 'It is draining: it ends what it has and takes nothing new.';
    case 'removed':
      break;
  }
  return (
    'It was removed from the pool, for lost votes or bad proofs: whoever runs the network sees ' +
    'which (`prlx nodes review`), and can let it in again.'
  );
}

function probingMessage({ probeCode, probeInSeconds }: ExplainedNode): string {
  if (probeCode === null)
    return 'The network is measuring it with a request of its own; it gets no other until then.';
  const reason = isErrorCode(probeCode) ? ` ${errorDefinition(probeCode).message}` : '';
  const when = probeInSeconds > 0 ? `in ${seconds(probeInSeconds)}` : 'now';
  return `It failed the network's own request (${probeCode}).${reason} The next try is ${when}.`;
}

function offlineMessage({ silentSeconds }: ExplainedNode): string {
  if (silentSeconds < ONLINE_SECONDS)
    return 'It left by its own word; it is back when it registers again.';
  return (
    `Its last heartbeat was ${seconds(silentSeconds)} ago; ` +
    `after ${ONLINE_SECONDS} s a node counts as offline.`
  );
}

function slotsMessage({ slotsTotal }: ExplainedNode): string {
  return slotsTotal === 1 ? 'Its one slot is taken.' : `All of its ${slotsTotal} slots are taken.`;
}

function seconds(value: number): string {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
}

import type { ErrorCode } from './errors.ts';
import { explainNode, explainNodeForUnit, outcomeMessage, type ExplainedNode } from './explain.ts';
import type { NodeId } from './ids.ts';
import { transitionMessage } from './presence.ts';
import type { RequestParameters } from './receive.ts';
import { ONLINE_SECONDS, type NodeStatus, type Requirements } from './schedule.ts';

/** A node as the pool shows it: what it said of itself, and what was seen and measured of it. */
export interface PoolNode {
  readonly id: NodeId;
  readonly name: string;
  readonly operatorId: string;
  readonly status: NodeStatus;
  readonly tier: number;
  readonly workloadClasses: readonly string[];
  readonly modelId: string;
  readonly modelDigest: string;
  readonly engine: string;
  /** What its backend can do besides chat, by its own word. */
  readonly features: readonly string[];
  /** Measured; 0 before. */
  readonly tokensPerSecond: number;
  readonly claimedTier: number;
  readonly claimedTokensPerSecond: number;
  /** Why its latest canary failed; null if it didn't. */
  readonly probeCode: string | null;
  /** Until its next canary, while it is probing. */
  readonly probeInSeconds: number;
  readonly registeredAt: Date;
  readonly lastSeenAt: Date;
  /** Since its last heartbeat, by the database's clock. */
  readonly silentSeconds: number;
  /** Whether it is there: it registered, didn't leave, and wasn't found silent. */
  readonly isOnline: boolean;
  /** Whether its backend can serve, by its own word. */
  readonly ready: boolean;
  readonly slotsTotal: number;
  readonly slotsFree: number;
  /** Faulty returns and missed deadlines that count against it. */
  readonly flags: number;
}

/** One attempt at a unit. */
export interface AttemptRow {
  readonly dispatch: number;
  readonly nodeId: NodeId;
  readonly nodeName: string | null;
  readonly reservedAt: Date;
  readonly decidedAt: Date | null;
  /** `accepted`, or the code that ended it; null while it is undecided. */
  readonly outcome: string | null;
  /** Whether it checks an earlier attempt. */
  readonly isCheck: boolean;
}

/** A waiting unit's place in the queue: 1 for the one that is woken first. */
export interface QueuePlace {
  readonly complexity: number;
  readonly modelDigest: string;
  readonly since: Date;
  readonly position: number;
  readonly length: number;
}

/** One change of a node's presence, by a code of `protocol/presence.ts`. */
export interface TransitionRow {
  readonly code: string;
  readonly createdAt: Date;
}

/** What of a request its explanation needs. */
export interface ExplainedRequest {
  readonly id: string;
  readonly status: string;
  readonly parameters: RequestParameters;
  readonly failureCode: ErrorCode | null;
  readonly acceptedAt: Date;
  readonly deadlineAt: Date;
  readonly finishedAt: Date | null;
}

/** What is known of a request and of those that could serve it. */
export interface RequestSituation {
  readonly record: ExplainedRequest;
  readonly pool: readonly PoolNode[];
  readonly attempts: readonly AttemptRow[];
  /** Null when it doesn't wait. */
  readonly place: QueuePlace | null;
  /** Of the model that was asked for, as it is now. */
  readonly modelDigest: string;
}

/** What is known of a node, and of what it could get. */
export interface NodeSituationRows {
  readonly node: PoolNode;
  /** Its latest decided attempts, latest first. */
  readonly attempts: readonly Pick<AttemptRow, 'decidedAt' | 'outcome'>[];
  readonly waiting: { readonly total: number; readonly suited: number };
  readonly modelServed: boolean;
  /** Free nodes that get work before it. */
  readonly others: readonly PoolNode[];
  readonly transitions: readonly TransitionRow[];
}

/** Why a request is where it is. What comes out is the API's answer: JSON, times in ISO 8601. */
export function explainRequest({ record, pool, place, modelDigest, ...given }: RequestSituation) {
  const { id, parameters } = record;
  // While a check is under way nobody is told of it: its requester may be its node's operator.
  const attempts = given.attempts.filter(({ isCheck }) => record.finishedAt !== null || !isCheck);
  const requirements: Requirements = {
    workloadClass: parameters.workloadClass,
    modelDigest: place?.modelDigest ?? modelDigest,
    hardwareTier: parameters.hardwareTier,
    complexity: place?.complexity ?? parameters.maxTokens * (parameters.choices ?? 1),
    features: parameters.features,
  };
  return {
    id,
    object: 'request.explanation' as const,
    status: record.status,
    error: record.failureCode && {
      code: record.failureCode,
      message: outcomeMessage(record.failureCode, true),
    },
    accepted_at: record.acceptedAt.toISOString(),
    finished_at: record.finishedAt?.toISOString() ?? null,
    deadline_at: record.deadlineAt.toISOString(),
    requirements: {
      workload_class: parameters.workloadClass,
      model: parameters.model,
      hardware_tier: parameters.hardwareTier,
      features: parameters.features ?? [],
      deadline_seconds: parameters.deadlineSeconds,
      complexity_tokens: requirements.complexity,
      // Only a waiting unit's complexity is kept: otherwise the prompt's share isn't known.
      complexity_is_lower_bound: !place,
    },
    waiting: place ? waitingView(place) : null,
    attempts: attempts.map((attempt) => attemptView(attempt, record)),
    nodes: pool.map((node) => {
      const { failedFilter, message } = explainNodeForUnit(
        explained(node),
        requirements,
        attempts,
        parameters.deadlineSeconds,
      );
      return { id: node.id, name: node.name, failed_filter: failedFilter, message };
    }),
  };
}

function waitingView({ since, position, length }: QueuePlace) {
  return { since: since.toISOString(), position, queue_length: length };
}

function attemptView(attempt: AttemptRow, record: ExplainedRequest) {
  return {
    dispatch: attempt.dispatch,
    node: attempt.nodeId,
    node_name: attempt.nodeName,
    reserved_at: attempt.reservedAt.toISOString(),
    decided_at: attempt.decidedAt?.toISOString() ?? null,
    outcome: attempt.outcome,
    is_check: attempt.isCheck,
    message: outcomeMessage(attempt.outcome, record.finishedAt !== null),
  };
}

/** Why a node has no work now, or no more of it. Whose requests it had isn't told. */
export function explainPoolNode(situation: NodeSituationRows) {
  const { node, attempts, waiting, modelServed, others, transitions } = situation;
  const outcomes = attempts.map(({ outcome }) => outcome ?? '');
  const reasons = explainNode({
    node: explained(node),
    recentOutcomes: outcomes,
    modelServed,
    waiting,
    others: others.map(explained),
  });
  return {
    ...describeNode(node),
    object: 'node.explanation' as const,
    reasons,
    waiting,
    recent_attempts: outcomes.reduce<Record<string, number>>(
      (counts, outcome) => ({ ...counts, [outcome]: (counts[outcome] ?? 0) + 1 }),
      {},
    ),
    events: transitions.map(({ code, createdAt }) => ({
      code,
      message: transitionMessage(code),
      created_at: createdAt.toISOString(),
    })),
    last_attempt_at: attempts[0]?.decidedAt?.toISOString() ?? null,
  };
}

/** What the API says of a node. */
export function describeNode(node: PoolNode) {
  return {
    id: node.id,
    object: 'node' as const,
    name: node.name,
    operator: node.operatorId,
    tier: node.tier,
    claimed_tier: node.claimedTier,
    model: node.modelId,
    engine: node.engine,
    features: node.features,
    status: node.status,
    online: isOnline(node),
    ready: node.ready,
    slots_free: node.slotsFree,
    slots_total: node.slotsTotal,
    tokens_per_second: node.tokensPerSecond,
    claimed_tokens_per_second: node.claimedTokensPerSecond,
    registered_at: node.registeredAt.toISOString(),
    last_seen_at: node.lastSeenAt.toISOString(),
    flags: node.flags,
  };
}

/** As Schedule sees it. */
function isOnline({ isOnline, silentSeconds }: PoolNode): boolean {
  return isOnline && silentSeconds < ONLINE_SECONDS;
}

function explained(node: PoolNode): ExplainedNode {
  return {
    ...node,
    nodeId: node.id,
    online: isOnline(node),
    freeSlots: node.slotsFree,
    throughputPerSecond: node.tokensPerSecond,
  };
}

import type { FastifyInstance } from 'fastify';
import {
  countWaiting,
  readAttempts,
  readNode,
  readNodeAttempts,
  readNodesBefore,
  readPool,
  readQueuePlace,
  readTransitions,
  type AttemptRow,
  type PoolNode,
  type QueuePlace,
} from '../prisma/pool.ts';
import type { RequestRecord } from '../prisma/requests.ts';
import { CodedError } from '../protocol/errors.ts';
import {
  explainNode,
  explainNodeForUnit,
  outcomeMessage,
  type ExplainedNode,
} from '../protocol/explain.ts';
import { transitionMessage } from '../protocol/presence.ts';
import { ONLINE_SECONDS, type Requirements } from '../protocol/schedule.ts';
import { authenticate, type GatewayDependencies } from './context.ts';
import { describeNode, isOnline } from './node-routes.ts';
import { parseQuery } from './query.ts';
import { authorisedRequest, noParameters, type IdParams } from './request-routes.ts';

/** How far back a node's attempts are looked at. */
const NODE_ATTEMPTS_MAX = 20;
/** How many nodes that get work before another one are named. */
const NODES_BEFORE_MAX = 10;

/** How many changes of a node's presence are told. */
const NODE_EVENTS_MAX = 10;

/** `GET /v1/requests/{id}/explain` and `GET /v1/nodes/{id}/explain`. */
export function explainRoutes(app: FastifyInstance, dependencies: GatewayDependencies): void {
  const { database } = dependencies;
  app.get<IdParams>('/v1/requests/:id/explain', async (request) =>
    requestExplanation(dependencies, await authorisedRequest(dependencies, request)),
  );
  app.get<IdParams>('/v1/nodes/:id/explain', async (request) => {
    await authenticate(database, request);
    parseQuery(noParameters, request.query);
    return nodeExplanation(dependencies, request.params.id);
  });
}

/** Why a request is where it is: the pool as it is now, its attempts, and its place if it waits. */
async function requestExplanation({ database }: GatewayDependencies, record: RequestRecord) {
  const { id, parameters } = record;
  const [pool, attempts, place, model] = await Promise.all([
    readPool(database),
    readAttempts(database, id),
    readQueuePlace(database, id),
    database.model.findUnique({ where: { id: parameters.model } }),
  ]);
  const requirements: Requirements = {
    workloadClass: parameters.workloadClass,
    modelDigest: place?.modelDigest ?? model?.digest ?? '',
    hardwareTier: parameters.hardwareTier,
    complexity: place?.complexity ?? parameters.maxTokens,
  };
  return {
    id,
    object: 'request.explanation',
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

function attemptView(attempt: AttemptRow, record: RequestRecord) {
  return {
    dispatch: attempt.dispatch,
    node: attempt.nodeId,
    node_name: attempt.nodeName,
    reserved_at: attempt.reservedAt.toISOString(),
    decided_at: attempt.decidedAt?.toISOString() ?? null,
    outcome: attempt.outcome,
    message: outcomeMessage(attempt.outcome, record.finishedAt !== null),
  };
}

/** Why a node has no work now, or no more of it. Other accounts' requests are only counted. */
async function nodeExplanation({ database }: GatewayDependencies, id: string) {
  const node = await readNode(database, id);
  if (!node) throw new CodedError('gateway.node_not_found');
  const [attempts, waiting, models, others, transitions] = await Promise.all([
    readNodeAttempts(database, id, NODE_ATTEMPTS_MAX),
    countWaiting(database, node),
    database.model.count({ where: { digest: node.modelDigest } }),
    readNodesBefore(database, node, ONLINE_SECONDS, NODES_BEFORE_MAX),
    readTransitions(database, id, NODE_EVENTS_MAX),
  ]);
  const outcomes = attempts.map(({ outcome }) => outcome ?? '');
  const reasons = explainNode({
    node: explained(node),
    recentOutcomes: outcomes,
    modelServed: models > 0,
    waiting,
    others: others.map(explained),
  });
  return {
    ...describeNode(node),
    object: 'node.explanation',
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

function explained(node: PoolNode): ExplainedNode {
  return {
    nodeId: node.id,
    name: node.name,
    status: node.status,
    tier: node.tier,
    workloadClasses: node.workloadClasses,
    modelDigest: node.modelDigest,
    online: isOnline(node),
    ready: node.ready,
    silentSeconds: node.silentSeconds,
    freeSlots: node.slotsFree,
    slotsTotal: node.slotsTotal,
    throughputPerSecond: node.tokensPerSecond,
    probeCode: node.probeCode,
    probeInSeconds: node.probeInSeconds,
  };
}

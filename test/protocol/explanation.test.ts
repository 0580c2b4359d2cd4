import assert from 'node:assert/strict';
import {
  explainRequest,
  type AttemptRow,
  type PoolNode,
  type RequestSituation,
} from '../../protocol/explanation.ts';
import { formatNodeId, type NodeId } from '../../protocol/ids.ts';

const AT = new Date('2026-01-01T00:00:00Z');
const [SERVING, CHECKING] = [1, 2].map((byte) => formatNodeId(new Uint8Array(32).fill(byte))) as [
  NodeId,
  NodeId,
];

const attempt = (dispatch: number, nodeId: NodeId, isCheck: boolean): AttemptRow => ({
  dispatch,
  nodeId,
  nodeName: 'node',
  reservedAt: AT,
  decidedAt: null,
  outcome: null,
  isCheck,
});

const node = (id: NodeId): PoolNode => ({
  id,
  name: 'node',
  operatorId: 'operator',
  status: 'active',
  tier: 1,
  workloadClasses: ['ai.inference'],
  modelId: 'model',
  modelDigest: 'sha256:1',
  engine: 'engine',
  features: [],
  tokensPerSecond: 100,
  claimedTier: 1,
  claimedTokensPerSecond: 100,
  probeCode: null,
  probeInSeconds: 0,
  registeredAt: AT,
  lastSeenAt: AT,
  silentSeconds: 0,
  isOnline: true,
  ready: true,
  slotsTotal: 1,
  slotsFree: 1,
  flags: 0,
});

const situation = (finishedAt: Date | null): RequestSituation => ({
  record: {
    id: 'req_1',
    status: finishedAt ? 'completed' : 'validated',
    parameters: {
      workloadClass: 'ai.inference',
      model: 'model',
      hardwareTier: 1,
      priority: 'standard',
      deadlineSeconds: 120,
      maxTokens: 16,
      stream: false,
      seed: null,
    },
    failureCode: null,
    acceptedAt: AT,
    deadlineAt: AT,
    finishedAt,
  },
  pool: [node(SERVING), node(CHECKING)],
  attempts: [attempt(1, SERVING, false), attempt(2, CHECKING, true)],
  place: null,
  modelDigest: 'sha256:1',
});

describe('protocol/explanation', () => {
  const told = (finishedAt: Date | null) => {
    const { attempts, nodes } = explainRequest(situation(finishedAt));
    const used = nodes.filter(({ failed_filter: filter }) => filter === 'already_used');
    return { attempts: attempts.map(({ node: id }) => id), used: used.map(({ id }) => id) };
  };

  it('tells of no check before the request has ended, in no way', () => {
    assert.deepEqual(told(null), { attempts: [SERVING], used: [SERVING] });
  });

  it('tells of checks afterwards', () => {
    const both = [SERVING, CHECKING];
    assert.deepEqual(told(AT), { attempts: both, used: both });
  });
});

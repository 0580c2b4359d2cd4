import assert from 'node:assert/strict';
import type { ErrorCode } from '../../protocol/errors.ts';
import type { FaultScene, SlotRelease } from './fault-scene.ts';
import type { FaultName } from './faulty-node.ts';
import { until } from './until.ts';

/** A node that is faulty, and what must come of it. */
export interface FaultCase {
  readonly fault: FaultName;
  readonly deadlineSeconds: number;
  /** What its attempt ends with; null when it serves the request after all. */
  readonly code: ErrorCode | null;
  readonly isFlagged?: true;
  /** How Temporal may have seen its attempt end. */
  readonly ends: readonly ('COMPLETED' | 'FAILED' | 'TIMED_OUT')[];
  readonly slot: SlotRelease;
  readonly status: 'active' | 'probing' | 'draining';
  /** Its windows of uptime, by how they ended; null for one that is open. */
  readonly uptime: readonly (string | null)[];
  /** Requests that run on it at once; 1 by default. */
  readonly requests?: number;
  /** Whether it goes on after it was given up, and returns. */
  readonly returnsLater?: true;
  /** What happens while it runs. */
  readonly meanwhile?: (scene: FaultScene) => Promise<void>;
}

const DEADLINE = { code: 'node.deadline_exceeded', isFlagged: true, status: 'active' } as const;
/** One window of uptime, which is open. */
export const ONLINE = [null];
const LOST = { code: 'execute.node_lost', ends: ['TIMED_OUT'], status: 'probing' } as const;

export const FAULT_CASES: readonly FaultCase[] = [
  // The long ones first: the others fit beside them.
  {
    fault: 'silent',
    // Beyond the 10 s that Temporal waits for a sign of life.
    deadlineSeconds: 15,
    ...LOST,
    slot: 'lease',
    uptime: ['node.heartbeat_lost'],
  },
  {
    fault: 'crashes mid-run',
    deadlineSeconds: 15,
    ...LOST,
    // The edge says so: its connections are gone.
    ends: ['FAILED'],
    slot: 'lease',
    uptime: ['node.heartbeat_lost'],
  },
  {
    fault: 'flapping',
    deadlineSeconds: 120,
    code: null,
    ends: ['COMPLETED'],
    slot: 'at once',
    status: 'active',
    uptime: ['node.heartbeat_lost', 'node.heartbeat_lost', null],
    meanwhile: othersServe,
  },
  {
    fault: 'slow',
    deadlineSeconds: 2,
    ...DEADLINE,
    // It says so itself.
    ends: ['FAILED'],
    slot: 'acknowledged',
    uptime: ONLINE,
  },
  {
    fault: 'stalls after decrypt',
    deadlineSeconds: 2,
    ...DEADLINE,
    ends: ['TIMED_OUT'],
    // It goes on saying that it runs it.
    slot: 'lease',
    uptime: ONLINE,
  },
  {
    fault: 'never polls',
    deadlineSeconds: 5,
    code: 'dispatch.node_unreachable',
    ends: ['TIMED_OUT'],
    slot: 'at once',
    status: 'probing',
    // Its next heartbeat ends it: it has lost work.
    uptime: ['node.probing'],
  },
  {
    fault: 'lies about decrypt time',
    deadlineSeconds: 2,
    ...DEADLINE,
    ends: ['TIMED_OUT'],
    slot: 'acknowledged',
    uptime: ONLINE,
    returnsLater: true,
  },
  {
    fault: 'returns late',
    deadlineSeconds: 3,
    ...DEADLINE,
    // The second only on a machine that stands still for a second.
    ends: ['COMPLETED', 'TIMED_OUT'],
    slot: 'acknowledged',
    uptime: ONLINE,
  },
  {
    fault: 'returns too late',
    deadlineSeconds: 2,
    ...DEADLINE,
    // A race: all that may depend on it is who has noticed.
    ends: ['COMPLETED', 'TIMED_OUT'],
    slot: 'acknowledged',
    uptime: ONLINE,
    requests: 6,
    returnsLater: true,
  },
  {
    fault: 'drains',
    deadlineSeconds: 60,
    code: null,
    ends: ['COMPLETED'],
    slot: 'at once',
    status: 'draining',
    uptime: ['node.left'],
    meanwhile: drains,
  },
];

/** Each time that its heartbeats are missing, another node gets what comes. */
async function othersServe(scene: FaultScene): Promise<void> {
  for (const silence of [1, 2]) {
    await until(async () => !(await scene.row()).isOnline, `it is silent (${silence})`);
    const { servedBy, attempts } = await scene.outcome(await scene.ask(60));
    assert.deepEqual([servedBy, attempts], ['healthy', [['healthy', 'accepted']]]);
    await until(async () => (await scene.row()).isOnline, `it is back (${silence})`);
  }
}

async function drains(scene: FaultScene): Promise<void> {
  const [{ role }] = scene.faulty as [(typeof scene.faulty)[number]];
  const stopped = role.stop();
  await until(async () => (await scene.row()).status === 'draining', 'it drains');
  const { servedBy } = await scene.outcome(await scene.ask(60));
  assert.equal(servedBy, 'healthy');
  await stopped;
}

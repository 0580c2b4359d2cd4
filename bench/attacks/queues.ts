import proto from '@temporalio/proto';
import { COORDINATOR_QUEUE, nodeQueue } from '../../protocol/queues.ts';
import type { Attack, Scene, Told } from './attack.ts';

const api = proto.temporal.api;
const { PollActivityTaskQueueRequest, PollNexusTaskQueueRequest, PollWorkflowTaskQueueRequest } =
  api.workflowservice.v1;
const { TASK_QUEUE_KIND_STICKY: STICKY, TASK_QUEUE_KIND_NORMAL: NORMAL } =
  api.enums.v1.TaskQueueKind;

/** Whoever is let in waits; it needn't for long to know. */
const PATIENCE_MS = 3_000;

type Queue = proto.temporal.api.taskqueue.v1.ITaskQueue;

const pollActivities = (queue: Queue | null) =>
  PollActivityTaskQueueRequest.encode({
    namespace: 'default',
    identity: 'stranger',
    taskQueue: queue,
  }).finish();

function poll(name: string, queue: (own: string, other: string) => Queue | null): Attack {
  return pollBytes(name, (own, other) => pollActivities(queue(own, other)));
}

function pollBytes(name: string, bytes: (own: string, other: string) => Uint8Array): Attack {
  return {
    name,
    group: 'queues',
    expects: ['edge.queue_forbidden'],
    run: (scene) => call(scene, 'PollActivityTaskQueue', bytes(own(scene), other(scene))),
  };
}

function pollOtherwise(
  name: string,
  method: string,
  bytes: (own: string, other: string) => Uint8Array,
): Attack {
  return {
    name,
    group: 'queues',
    expects: ['edge.forbidden'],
    run: (scene) => call(scene, method, bytes(own(scene), other(scene))),
  };
}

const own = ({ stranger }: Scene) => nodeQueue(stranger.keys.nodeId);
const other = ({ victim }: Scene) => nodeQueue(victim);

function call({ stranger }: Scene, method: string, message: Uint8Array): Promise<Told> {
  return stranger.grpc.call(method, message, { patienceMs: PATIENCE_MS });
}

/** Work that is for others. */
export const QUEUE_ATTACKS: readonly Attack[] = [
  poll("another node's queue", (_own, other) => ({ name: other, kind: NORMAL })),
  poll('… as a sticky queue', (_own, other) => ({ name: other, kind: STICKY })),
  poll('… as the normal name of its own sticky queue', (own, other) => ({
    name: own,
    kind: STICKY,
    normalName: other,
  })),
  poll('… as the normal name of any sticky queue', (_own, other) => ({
    name: 'sticky',
    kind: STICKY,
    normalName: other,
  })),
  poll('… as a normal name beside its own', (own, other) => ({
    name: own,
    kind: NORMAL,
    normalName: other,
  })),
  poll('a partition of it', (_own, other) => ({ name: `/_sys/${other}/1` })),
  poll('its root partition', (_own, other) => ({ name: `/_sys/${other}/0` })),
  poll('a versioned partition of it', (_own, other) => ({ name: `/_sys/${other}/v1:1` })),
  poll('a partition of its own queue', (own) => ({ name: `/_sys/${own}/1` })),
  poll('its own queue as sticky', (own) => ({ name: own, kind: STICKY })),
  poll('its own queue in capitals', (own) => ({ name: own.toUpperCase() })),
  poll('its own queue and a zero byte', (own, other) => ({ name: `${own}\0${other}` })),
  poll('its own queue and a blank', (own) => ({ name: `${own} ` })),
  poll('a queue without a name', () => ({ name: '' })),
  poll('no queue', () => null),
  poll("the coordinator's queue, for activities", () => ({ name: COORDINATOR_QUEUE })),
  poll("a system worker's queue", () => ({ name: 'temporal-sys-processor-parent-close-policy' })),
  // Fields that come twice are merged: what counts is the last name.
  pollBytes("its own queue, and then another's in one message", (own, other) =>
    Buffer.concat([pollActivities({ name: own }), pollActivities({ name: other })]),
  ),
  pollOtherwise('workflow tasks', 'PollWorkflowTaskQueue', () =>
    PollWorkflowTaskQueueRequest.encode({
      namespace: 'default',
      taskQueue: { name: COORDINATOR_QUEUE },
    }).finish(),
  ),
  pollOtherwise('workflow tasks of its own queue', 'PollWorkflowTaskQueue', (own) =>
    PollWorkflowTaskQueueRequest.encode({
      namespace: 'default',
      taskQueue: { name: own },
    }).finish(),
  ),
  pollOtherwise('Nexus tasks', 'PollNexusTaskQueue', (_own, other) =>
    PollNexusTaskQueueRequest.encode({
      namespace: 'default',
      taskQueue: { name: other },
    }).finish(),
  ),
];

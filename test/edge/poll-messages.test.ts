import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import proto, { type temporal } from '@temporalio/proto';
import { pollRequest, pollResponse, readPollAnswer } from '../../edge/poll-messages.ts';
import { Refusal, type EdgeCode } from '../../edge/refusals.ts';
import { formatNodeId } from '../../protocol/ids.ts';
import { plainMessage } from '../support/plain-message.ts';

const { v1: service } = proto.temporal.api.workflowservice;
type PollAnswer = temporal.api.workflowservice.v1.IPollActivityTaskQueueResponse;

const nodeId = formatNodeId(randomBytes(32));
const queue = `node.${nodeId}`;
const bytes = (value: string) => Buffer.from(value);
const refuses = (code: EdgeCode) => (error: unknown) =>
  error instanceof Refusal && error.code === code;

describe('edge/poll-messages // PollActivityTaskQueue', () => {
  const { PollActivityTaskQueueRequest: Poll } = service;
  const poll = (taskQueue: object | null, more: object = {}) => {
    const said = Poll.fromObject({ namespace: 'mine', ...(taskQueue && { taskQueue }), ...more });
    return pollRequest(Poll.encode(said).finish(), nodeId, 'plane');
  };

  it('asks for the queue of the node in the name of the node, and for nothing else it said', () => {
    const more = {
      identity: 'somebody',
      pollerGroupId: 'group',
      workerInstanceKey: 'instance',
      workerControlTaskQueue: 'control',
      taskQueueMetadata: { maxTasksPerSecond: { value: 1 } },
      workerVersionCapabilities: { buildId: 'build', useVersioning: true },
      deploymentOptions: { deploymentName: 'deployment', buildId: 'build' },
    };
    for (const kind of [0, 1]) {
      const sent = service.PollActivityTaskQueueRequest.decode(poll({ name: queue, kind }, more));
      assert.deepEqual(plainMessage(sent), {
        namespace: 'plane',
        taskQueue: { name: queue, kind: 'TASK_QUEUE_KIND_NORMAL' },
        identity: nodeId,
      });
    }
  });

  it('refuses every other queue, kind and normal name', () => {
    const other = formatNodeId(randomBytes(32));
    const named = [`node.${other}`, 'coordinator', '', `/_sys/${queue}/1`, `${queue}/1`];
    const odd = [`${queue} `, queue.toUpperCase(), `${queue}\0`, `__sticky__${queue}`];
    for (const name of [...named, ...odd])
      assert.throws(() => poll({ name, kind: 1 }), refuses('edge.queue_forbidden'), name);
    for (const kind of [2, 3, 4, 5, 77])
      assert.throws(() => poll({ name: queue, kind }), refuses('edge.queue_forbidden'));
    assert.throws(
      () => poll({ name: queue, normalName: 'coordinator' }),
      refuses('edge.queue_forbidden'),
    );
    assert.throws(() => poll(null), refuses('edge.queue_forbidden'));
  });

  it('asks for the queue that it looked at, so that no second one can be smuggled in', () => {
    const two = (first: string, second: string) =>
      Buffer.concat(
        [first, second].map((name) =>
          service.PollActivityTaskQueueRequest.encode({ taskQueue: { name } }).finish(),
        ),
      );
    assert.throws(
      () => pollRequest(two(queue, 'coordinator'), nodeId, 'plane'),
      refuses('edge.queue_forbidden'),
    );
    const sent = service.PollActivityTaskQueueRequest.decode(
      pollRequest(two('coordinator', queue), nodeId, 'plane'),
    );
    assert.equal(sent.taskQueue?.name, queue);
  });
});

describe('edge/poll-messages // what a node sees of its work', () => {
  const at = (seconds: number) =>
    ({ seconds, nanos: 5 }) as unknown as NonNullable<PollAnswer['startedTime']>;
  /** As Temporal sends it: all that may tell what the work is for. */
  const work = (kind: string, more: PollAnswer = {}): PollAnswer => ({
    taskToken: bytes(`token of ${kind}`),
    workflowNamespace: 'plane',
    workflowType: { name: kind },
    workflowExecution: { workflowId: `${kind}-1234`, runId: `run of ${kind}` },
    activityType: { name: 'execute' },
    activityId: '1',
    header: { fields: { trace: { data: bytes(kind) } } },
    input: {
      payloads: [
        {
          metadata: { encoding: bytes('json/plain'), kind: bytes(kind) },
          data: bytes('{}'),
          externalPayloads: [],
        },
      ],
    },
    heartbeatDetails: { payloads: [{ data: bytes(kind) }] },
    scheduledTime: at(1_000),
    currentAttemptScheduledTime: at(1_000),
    startedTime: at(1_009),
    attempt: 1,
    scheduleToCloseTimeout: at(70),
    startToCloseTimeout: at(30),
    heartbeatTimeout: at(10),
    retryPolicy: { maximumAttempts: 1 },
    pollerScalingDecision: { pollRequestDeltaSuggestion: 1 },
    priority: { priorityKey: 3, fairnessKey: kind },
    activityRunId: `activity run of ${kind}`,
    ...more,
  });
  const KINDS: readonly PollAnswer[] = [
    work('inference'),
    // An attempt after another one, and a check: later activities of the same workflow.
    work('inference', { activityId: '7', taskToken: bytes('token of attempt 2') }),
    work('inference', { activityId: '13', scheduledTime: at(1_008), attempt: 2 }),
    // A canary may wait for its node for longer.
    work('canary', { scheduledTime: at(950), scheduleToCloseTimeout: at(0), priority: null }),
  ];
  const seen = (answer: PollAnswer, sealed = randomBytes(1_068)) => {
    const task = readPollAnswer(service.PollActivityTaskQueueResponse.encode(answer).finish());
    assert.ok(task);
    const encoded = pollResponse(task, sealed);
    return { encoded, decoded: service.PollActivityTaskQueueResponse.decode(encoded) };
  };

  it('is all that is needed, and nothing else', () => {
    const sealed = randomBytes(1_068);
    const { decoded } = seen(work('inference'), sealed);
    const { workflowExecution, ...rest } = plainMessage(decoded) as Record<string, unknown>;
    const { workflowId = '', runId = '' } = workflowExecution as Record<string, string>;
    assert.match(workflowId, /^unit-[0-9a-f]{32}$/);
    assert.match(runId, /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/);
    assert.deepEqual(rest, {
      taskToken: sealed.toString('base64'),
      workflowNamespace: 'default',
      workflowType: { name: 'unit' },
      activityType: { name: 'execute' },
      activityId: 'execute',
      input: {
        payloads: [
          {
            metadata: { encoding: bytes('json/plain').toString('base64') },
            data: bytes('{}').toString('base64'),
          },
        ],
      },
      scheduledTime: { seconds: '1009', nanos: 5 },
      currentAttemptScheduledTime: { seconds: '1009', nanos: 5 },
      startedTime: { seconds: '1009', nanos: 5 },
      attempt: 1,
      scheduleToCloseTimeout: { seconds: '30', nanos: 5 },
      startToCloseTimeout: { seconds: '30', nanos: 5 },
      heartbeatTimeout: { seconds: '10', nanos: 5 },
    });
  });

  it('is the same for a first attempt, another one, a check and a canary, to the byte', () => {
    const sealed = randomBytes(1_068);
    const [first, ...others] = KINDS.map((answer) => seen(answer, sealed).encoded);
    for (const other of others) assert.deepEqual(other, first);
  });

  it('has ids of its own for each task, of one form', () => {
    const ids = KINDS.map((answer) => seen(answer).decoded.workflowExecution);
    assert.equal(new Set(ids.map((id) => id?.workflowId)).size, KINDS.length);
    assert.equal(new Set(ids.map((id) => id?.runId)).size, KINDS.length);
  });

  it('is nothing when there is no task', () => {
    const { PollActivityTaskQueueResponse } = service;
    assert.equal(readPollAnswer(new Uint8Array()), null);
    const scaling = { pollerScalingDecision: { pollRequestDeltaSuggestion: 1 } };
    assert.equal(readPollAnswer(PollActivityTaskQueueResponse.encode(scaling).finish()), null);
  });
});

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import proto, { type temporal } from '@temporalio/proto';
import {
  completedRequest,
  failedRequest,
  canceledRequest,
  heartbeatRequest,
  heartbeatResponse,
  pollRequest,
  pollResponse,
  readPollAnswer,
  sealedTokenOf,
} from '../../edge/messages.ts';
import { Refusal, type EdgeCode } from '../../edge/refusals.ts';
import { NODE_REPORTED_CODES } from '../../protocol/execute.ts';
import { formatNodeId } from '../../protocol/ids.ts';

const { v1: service } = proto.temporal.api.workflowservice;
const { TIMEOUT_TYPE_START_TO_CLOSE } = proto.temporal.api.enums.v1.TimeoutType;
const { APPLICATION_ERROR_CATEGORY_BENIGN } = proto.temporal.api.enums.v1.ApplicationErrorCategory;
type PollAnswer = temporal.api.workflowservice.v1.IPollActivityTaskQueueResponse;
type Failure = temporal.api.failure.v1.IFailure;

const nodeId = formatNodeId(randomBytes(32));
const queue = `node.${nodeId}`;
const bytes = (value: string) => Buffer.from(value);
const refuses = (code: EdgeCode) => (error: unknown) =>
  error instanceof Refusal && error.code === code;

/** All fields that a message has, without those that are empty. */
function plain(message: object): unknown {
  return JSON.parse(
    JSON.stringify(message, (_key, value: unknown) =>
      value === null || (Array.isArray(value) && value.length === 0) ? undefined : value,
    ),
  );
}

describe('edge/messages // PollActivityTaskQueue', () => {
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
      assert.deepEqual(plain(sent), {
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

describe('edge/messages // what a node sees of its work', () => {
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
    const { workflowExecution, ...rest } = plain(decoded) as Record<string, unknown>;
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

describe('edge/messages // what a node says of its work', () => {
  const taskToken = bytes('inner');
  const task = { taskToken, nodeId, namespace: 'plane' };
  const about = { taskToken: taskToken.toString('base64'), identity: nodeId, namespace: 'plane' };
  const own = {
    taskToken: bytes('sealed'),
    identity: 'somebody',
    namespace: 'other',
    resourceId: 'resource',
    workerVersion: { buildId: 'build' },
    deployment: { seriesName: 'series' },
  };
  const payload = (more: object = {}) => ({
    metadata: { encoding: bytes('json/plain'), more: bytes('more') },
    data: bytes('"result"'),
    ...more,
  });

  it('is about the task whose token it shows', () => {
    const said = service.RecordActivityTaskHeartbeatRequest.encode(own).finish();
    assert.equal(Buffer.from(sealedTokenOf(said)).toString(), 'sealed');
    assert.throws(() => sealedTokenOf(new Uint8Array()), refuses('edge.token_invalid'));
  });

  it('is of a result the encoding and the bytes', () => {
    const { RespondActivityTaskCompletedRequest: Completed } = service;
    const said = (payloads: object[]) =>
      completedRequest(Completed.encode({ ...own, result: { payloads } }).finish(), task);
    assert.deepEqual(plain(Completed.decode(said([payload()]))), {
      ...about,
      result: {
        payloads: [
          {
            metadata: { encoding: bytes('json/plain').toString('base64') },
            data: bytes('"result"').toString('base64'),
          },
        ],
      },
    });
    const nothing = { metadata: { encoding: bytes('binary/null').toString('base64') } };
    const without = Completed.encode(own).finish();
    for (const none of [said([]), completedRequest(without, task)])
      assert.deepEqual(plain(Completed.decode(none)), {
        ...about,
        result: { payloads: [nothing] },
      });
    const long = { encoding: Buffer.alloc(65, 'x') };
    assert.throws(() => said([payload({ metadata: long })]), refuses('edge.malformed'));
    assert.throws(() => said([payload(), payload()]), refuses('edge.malformed'));
  });

  const { RespondActivityTaskFailedRequest: Failed } = service;
  const failed = (failure: Failure | null) =>
    Failed.decode(
      failedRequest(
        Failed.encode({
          ...own,
          failure,
          lastHeartbeatDetails: { payloads: [payload()] },
        }).finish(),
        task,
      ),
    );

  it('is of a failure one code that nodes may say', () => {
    const said = (type: string): Failure => ({
      message: 'a prompt',
      source: 'somewhere',
      stackTrace: 'at somewhere',
      encodedAttributes: payload(),
      cause: { message: 'why', applicationFailureInfo: { type: 'edge.undelivered' } },
      applicationFailureInfo: {
        type,
        nonRetryable: true,
        details: { payloads: [payload()] },
        nextRetryDelay: {},
        category: APPLICATION_ERROR_CATEGORY_BENIGN,
      },
    });
    const expected = (code: string) => ({
      ...about,
      failure: { message: code, source: 'edge', applicationFailureInfo: { type: code } },
    });
    for (const code of NODE_REPORTED_CODES)
      assert.deepEqual(plain(failed(said(code))), expected(code));
    const foreign = ['edge.undelivered', 'execute.node_lost', 'execute.cancelled', 'Error', ''];
    for (const type of foreign)
      assert.deepEqual(plain(failed(said(type))), expected('execute.backend_failed'));
  });

  it('is a failed backend whatever other failure it sends', () => {
    const others: (Failure | null)[] = [
      null,
      {},
      { timeoutFailureInfo: { timeoutType: TIMEOUT_TYPE_START_TO_CLOSE } },
      { canceledFailureInfo: {} },
      { terminatedFailureInfo: {} },
      { serverFailureInfo: { nonRetryable: true } },
      { activityFailureInfo: { activityId: 'execute' } },
    ];
    for (const other of others)
      assert.equal(failed(other).failure?.applicationFailureInfo?.type, 'execute.backend_failed');
  });

  it('is nothing more when it was cancelled, and when it is alive', () => {
    const details = { payloads: [payload()] };
    const { RespondActivityTaskCanceledRequest: Canceled } = service;
    const { RecordActivityTaskHeartbeatRequest: Heartbeat } = service;
    const canceled = canceledRequest(Canceled.encode({ ...own, details }).finish(), task);
    assert.deepEqual(plain(Canceled.decode(canceled)), about);
    const alive = heartbeatRequest(Heartbeat.encode({ ...own, details }).finish(), task);
    assert.deepEqual(plain(Heartbeat.decode(alive)), about);
  });

  it('is answered by whether to cancel', () => {
    const { RecordActivityTaskHeartbeatResponse: Response } = service;
    const answer = { cancelRequested: true, activityPaused: true, activityReset: true };
    const passed = Response.decode(heartbeatResponse(Response.encode(answer).finish()));
    assert.deepEqual(plain(passed), { cancelRequested: true });
  });
});

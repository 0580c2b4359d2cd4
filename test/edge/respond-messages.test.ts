import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import proto, { type temporal } from '@temporalio/proto';
import {
  canceledRequest,
  completedRequest,
  failedRequest,
  heartbeatRequest,
  heartbeatResponse,
  sealedTokenOf,
} from '../../edge/respond-messages.ts';
import { Refusal, type EdgeCode } from '../../edge/refusals.ts';
import { NODE_REPORTED_CODES } from '../../protocol/execute.ts';
import { formatNodeId } from '../../protocol/ids.ts';
import { plainMessage } from '../support/plain-message.ts';

const { v1: service } = proto.temporal.api.workflowservice;
const { TIMEOUT_TYPE_START_TO_CLOSE } = proto.temporal.api.enums.v1.TimeoutType;
const { APPLICATION_ERROR_CATEGORY_BENIGN } = proto.temporal.api.enums.v1.ApplicationErrorCategory;
type Failure = temporal.api.failure.v1.IFailure;

const nodeId = formatNodeId(randomBytes(32));
const bytes = (value: string) => Buffer.from(value);
const refuses = (code: EdgeCode) => (error: unknown) =>
  error instanceof Refusal && error.code === code;

describe('edge/respond-messages // what a node says of its work', () => {
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
    assert.deepEqual(plainMessage(Completed.decode(said([payload()]))), {
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
    const nothing = { metadata: { encoding: Buffer.from('binary/null').toString('base64') } };
    const without = Completed.encode(own).finish();
    for (const none of [said([]), completedRequest(without, task)])
      assert.deepEqual(plainMessage(Completed.decode(none)), {
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
      assert.deepEqual(plainMessage(failed(said(code))), expected(code));
    const foreign = ['edge.undelivered', 'execute.node_lost', 'execute.cancelled', 'Error', ''];
    for (const type of foreign)
      assert.deepEqual(plainMessage(failed(said(type))), expected('execute.backend_failed'));
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
    assert.deepEqual(plainMessage(Canceled.decode(canceled)), about);
    const alive = heartbeatRequest(Heartbeat.encode({ ...own, details }).finish(), task);
    assert.deepEqual(plainMessage(Heartbeat.decode(alive)), about);
  });

  it('is answered by whether to cancel', () => {
    const { RecordActivityTaskHeartbeatResponse: Response } = service;
    const answer = { cancelRequested: true, activityPaused: true, activityReset: true };
    const passed = Response.decode(heartbeatResponse(Response.encode(answer).finish()));
    assert.deepEqual(plainMessage(passed), { cancelRequested: true });
  });
});

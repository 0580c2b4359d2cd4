import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { status, type ServiceError } from '@grpc/grpc-js';
import proto from '@temporalio/proto';
import { generateWrapKey } from '../../crypto/keys.ts';
import type { Call } from '../../edge/grpc-server.ts';
import { Polls } from '../../edge/poll.ts';
import { Refusal } from '../../edge/refusals.ts';
import { Tasks } from '../../edge/tasks.ts';
import { UpstreamError, type Upstream, type UpstreamOptions } from '../../edge/upstream.ts';
import { formatNodeId } from '../../protocol/ids.ts';
import { nodeQueue } from '../../protocol/queues.ts';
import { until } from '../support/until.ts';

const { v1: service } = proto.temporal.api.workflowservice;
const nodeId = formatNodeId(randomBytes(32));
const TASK = service.PollActivityTaskQueueResponse.encode({
  taskToken: Buffer.from('inner'),
  startToCloseTimeout: { nanos: 500_000_000 },
}).finish();

const LIMITS = { polls: 9, pollsPerAddress: 9, pollsPerNode: 1 };

/** Temporal, which answers when it is told to. */
function scriptedUpstream() {
  const polls: (UpstreamOptions & {
    answer(bytes: Uint8Array): void;
    fail(code: status): void;
  })[] = [];
  const failed: string[] = [];
  const upstream: Upstream = {
    async call(method, message, options) {
      if (method === 'RespondActivityTaskFailed') {
        const { failure, taskToken } = service.RespondActivityTaskFailedRequest.decode(message);
        failed.push(
          `${failure?.applicationFailureInfo?.type} ${Buffer.from(taskToken).toString()}`,
        );
        return Buffer.alloc(0);
      }
      return new Promise<Buffer>((resolve, reject) => {
        const fail = (code: status) =>
          reject(new UpstreamError({ code, details: 'secret' } as ServiceError));
        polls.push({ ...options, answer: (bytes) => resolve(Buffer.from(bytes)), fail });
      });
    },
    close() {},
  };
  return { upstream, polls, failed };
}

/** A poll of the node that has begun, and what becomes of it. */
async function begin(isRemoved = false, deadlineMs = Infinity, limits = LIMITS) {
  const { upstream, polls: calls, failed } = scriptedUpstream();
  const quiet = { warn: () => {}, info: () => {} };
  const namespace = 'plane';
  const tasks = new Tasks({ upstream, namespace, ring: [generateWrapKey()], log: quiet });
  const pool = { isRemoved: async () => isRemoved };
  const polls = new Polls({ upstream, namespace, tasks, pool, limits });
  const taken = new AbortController();
  const taskQueue = { name: nodeQueue(nodeId) };
  const call: Call = {
    peer: { nodeId, notAfterMs: Infinity },
    address: '192.0.2.1',
    message: Buffer.from(service.PollActivityTaskQueueRequest.encode({ taskQueue }).finish()),
    deadlineMs,
    signal: taken.signal,
  };
  const reply = polls.handler(call);
  reply.catch(() => {});
  if (!isRemoved) await until(() => calls.length === 1, 'Temporal is asked');
  const upstreamCall = () => {
    const [first] = calls;
    assert.ok(first);
    return first;
  };
  return { polls, tasks, call, reply, taken, failed, upstreamCall };
}

const refusal = (code: string) => (error: unknown) =>
  error instanceof Refusal && error.code === code;

describe('edge/poll', () => {
  it('passes the deadline of the node on, up to a longest', async () => {
    const soon = Date.now() + 5_000;
    const short = await begin(false, soon);
    assert.equal(short.upstreamCall().deadlineMs, soon);
    const { upstreamCall } = await begin();
    assert.ok(upstreamCall().deadlineMs <= Date.now() + 75_000);
  });

  it('delivers a task, sealed and noted', async () => {
    const { reply, upstreamCall, tasks, failed } = await begin();
    upstreamCall().answer(TASK);
    const { message } = await reply;
    const { taskToken } = service.PollActivityTaskQueueResponse.decode(message);
    assert.equal(tasks.open(nodeId, taskToken).toString(), 'inner');
    assert.ok(tasks.inFlight.has(nodeId));
    assert.deepEqual(failed, []);
  });

  it('fails a task that could not be handed over', async () => {
    const { reply, upstreamCall, tasks, failed } = await begin();
    upstreamCall().answer(TASK);
    (await reply).onLost?.(false);
    await until(() => failed.length > 0, 'it is failed');
    assert.deepEqual(failed, ['edge.undelivered inner']);
    assert.ok(!tasks.inFlight.has(nodeId));
  });

  it('fails a task whose token can not be sealed', async () => {
    const { reply, upstreamCall, tasks, failed } = await begin();
    const taskToken = Buffer.alloc(1_015, 'x');
    upstreamCall().answer(service.PollActivityTaskQueueResponse.encode({ taskToken }).finish());
    await assert.rejects(reply, refusal('edge.unavailable'));
    assert.deepEqual(failed, [`edge.undelivered ${taskToken.toString()}`]);
    assert.ok(!tasks.inFlight.has(nodeId));
  });

  it('blames a node that may have read the task before it took the poll back', async () => {
    const { reply, upstreamCall, failed } = await begin();
    upstreamCall().answer(TASK);
    (await reply).onLost?.(true);
    await until(() => failed.length > 0, 'it is failed');
    assert.deepEqual(failed, ['execute.node_lost inner']);
  });

  it('cancels what the node took back, and fails a task that comes nevertheless', async () => {
    const { reply, upstreamCall, taken, failed } = await begin();
    taken.abort();
    assert.ok(upstreamCall().signal?.aborted);
    upstreamCall().answer(TASK);
    assert.equal((await reply).message.length, 0);
    assert.deepEqual(failed, ['edge.undelivered inner']);
  });

  it('ends for a removed node, and fails a task that comes nevertheless', async () => {
    const { polls, reply, upstreamCall, failed } = await begin();
    polls.endOf(formatNodeId(randomBytes(32)));
    assert.ok(!upstreamCall().signal?.aborted);
    polls.endOf(nodeId);
    assert.ok(upstreamCall().signal?.aborted);
    upstreamCall().answer(TASK);
    await assert.rejects(reply, refusal('edge.node_removed'));
    assert.deepEqual(failed, ['execute.node_lost inner']);
    await assert.rejects((await begin(true)).reply, refusal('edge.node_removed'));
  });

  it('ends empty when the edge stops, but a task that comes is still delivered', async () => {
    const empty = await begin();
    empty.polls.drain();
    empty.upstreamCall().fail(status.CANCELLED);
    assert.equal((await empty.reply).message.length, 0);
    await assert.rejects(empty.polls.handler(empty.call), refusal('edge.unavailable'));
    const late = await begin();
    late.polls.drain();
    late.upstreamCall().answer(TASK);
    assert.ok((await late.reply).message.length > 1_000);
    assert.deepEqual(late.failed, []);
  });

  it('is empty when the time is up, and says nothing of what else goes wrong behind', async () => {
    const late = await begin();
    late.upstreamCall().fail(status.DEADLINE_EXCEEDED);
    assert.equal((await late.reply).message.length, 0);
    const away = await begin();
    away.upstreamCall().fail(status.UNAVAILABLE);
    await assert.rejects(away.reply, refusal('edge.unavailable'));
    const odd = await begin();
    odd.upstreamCall().fail(status.INVALID_ARGUMENT);
    await assert.rejects(odd.reply, refusal('edge.malformed'));
  });

  it('has so many open for a node, and room again when one is over', async () => {
    const { polls, call, reply, upstreamCall } = await begin();
    await assert.rejects(polls.handler(call), refusal('edge.too_many'));
    assert.equal(polls.size, 1);
    upstreamCall().answer(TASK);
    await reply;
    assert.equal(polls.size, 0);
  });

  /** Polls as another node. @returns why it was refused, or `open`. */
  async function other(polls: Polls, address: string): Promise<string> {
    const id = formatNodeId(randomBytes(32));
    const taskQueue = { name: nodeQueue(id) };
    const reply = polls.handler({
      peer: { nodeId: id, notAfterMs: Infinity },
      address,
      message: Buffer.from(service.PollActivityTaskQueueRequest.encode({ taskQueue }).finish()),
      deadlineMs: Infinity,
      signal: new AbortController().signal,
    });
    const refused = reply.then(
      () => 'answered',
      (error: unknown) => String(error),
    );
    return Promise.race([refused, sleep(20, 'open')]);
  }

  it('has so many open for an address, whoever asks, and room again after', async () => {
    const limits = { ...LIMITS, pollsPerAddress: 1 };
    const { polls, reply, upstreamCall } = await begin(false, Infinity, limits);
    assert.match(await other(polls, '192.0.2.1'), /of its address/);
    assert.equal(await other(polls, '192.0.2.2'), 'open');
    upstreamCall().answer(TASK);
    await reply;
    assert.equal(await other(polls, '192.0.2.1'), 'open');
    assert.equal(polls.size, 2);
  });

  it('has so many open in all', async () => {
    const { polls, reply, upstreamCall } = await begin(false, Infinity, { ...LIMITS, polls: 2 });
    assert.equal(await other(polls, '192.0.2.2'), 'open');
    assert.match(await other(polls, '192.0.2.3'), /in all/);
    upstreamCall().answer(TASK);
    await reply;
    assert.equal(await other(polls, '192.0.2.3'), 'open');
  });
});

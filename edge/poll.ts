import { status } from '@grpc/grpc-js';
import type { NodeId } from '../protocol/ids.ts';
import type { Reply } from './grpc-reply.ts';
import type { Call, Handler } from './grpc-server.ts';
import { KeyedCounts, type EdgeLimits } from './limits.ts';
import { NO_TASK, pollRequest, pollResponse, readPollAnswer } from './poll-messages.ts';
import type { Pool } from './pool.ts';
import { Refusal } from './refusals.ts';
import type { Tasks } from './tasks.ts';
import { refusalOf, UpstreamError, type Upstream } from './upstream.ts';

export interface PollOptions {
  readonly upstream: Upstream;
  readonly namespace: string;
  readonly tasks: Tasks;
  readonly pool: Pick<Pool, 'isRemoved'>;
  readonly limits: Pick<EdgeLimits, 'polls' | 'pollsPerAddress' | 'pollsPerNode'>;
}

/** The longest that a poll stays open; SDKs ask for 70 s and for answers 10 s before that. */
const POLL_MS_MAX = 75_000;

/** It is kept for as long as the poll is open; an SDK's has some hundred bytes. */
const POLL_BYTES_MAX = 64 * 1_024;

type EndReason = 'taken back' | 'removed' | 'drain';

interface OpenPoll {
  readonly nodeId: NodeId;
  readonly controller: AbortController;
  reason: EndReason | undefined;
}

/** PollActivityTaskQueue: long polls passed through to Temporal, each node's on its own queue. */
export class Polls {
  readonly #options: PollOptions;
  readonly #open = new Set<OpenPoll>();
  readonly #ofNodes: KeyedCounts;
  readonly #ofAddresses: KeyedCounts;
  #isDraining = false;

  constructor(options: PollOptions) {
    this.#options = options;
    this.#ofNodes = new KeyedCounts(options.limits.pollsPerNode);
    this.#ofAddresses = new KeyedCounts(options.limits.pollsPerAddress);
  }

  get size(): number {
    return this.#open.size;
  }

  /** Ends the open polls of a node that was removed. */
  endOf(nodeId: NodeId): void {
    for (const poll of this.#open) if (poll.nodeId === nodeId) end(poll, 'removed');
  }

  /** Takes no more polls, and ends those that are open without a task. */
  drain(): void {
    this.#isDraining = true;
    for (const poll of this.#open) end(poll, 'drain');
  }

  readonly handler: Handler = async (call) => {
    const { namespace, pool } = this.#options;
    const { nodeId } = call.peer;
    if (call.message.length > POLL_BYTES_MAX) throw new Refusal('edge.too_large');
    const request = pollRequest(call.message, nodeId, namespace);
    if (this.#isDraining) throw new Refusal('edge.unavailable', 'stopping');
    this.#acquire(call);
    const poll: OpenPoll = { nodeId, controller: new AbortController(), reason: undefined };
    this.#open.add(poll);
    const takeBack = () => end(poll, 'taken back');
    call.signal.addEventListener('abort', takeBack, { once: true });
    try {
      // After it was added: whoever is removed from now on is among those who are ended.
      if (await pool.isRemoved(nodeId)) throw new Refusal('edge.node_removed');
      if (call.signal.aborted) takeBack();
      return await this.#passThrough(call, request, poll);
    } finally {
      this.#open.delete(poll);
      this.#ofNodes.release(nodeId);
      this.#ofAddresses.release(call.address);
    }
  };

  /** @throws Refusal `edge.too_many` when the node, its address or the edge has no more to give. */
  #acquire({ peer, address }: Call): void {
    if (this.#open.size >= this.#options.limits.polls)
      throw new Refusal('edge.too_many', 'polls in all');
    if (!this.#ofNodes.acquire(peer.nodeId)) throw new Refusal('edge.too_many', 'polls');
    if (this.#ofAddresses.acquire(address)) return;
    this.#ofNodes.release(peer.nodeId);
    throw new Refusal('edge.too_many', 'polls of its address');
  }

  async #passThrough(call: Call, request: Uint8Array, poll: OpenPoll): Promise<Reply> {
    const { upstream, tasks } = this.#options;
    const { nodeId, controller } = poll;
    const deadlineMs = Math.min(call.deadlineMs, Date.now() + POLL_MS_MAX);
    const { signal } = controller;
    const answer = await upstream
      .call('PollActivityTaskQueue', request, { deadlineMs, signal })
      .catch((error: unknown) => noAnswer(error, poll));
    const task = answer && readPollAnswer(answer);
    if (poll.reason === 'removed') {
      if (task) await tasks.fail(nodeId, task.taskToken, 'execute.node_lost');
      throw new Refusal('edge.node_removed');
    }
    if (!task) return { message: NO_TASK };
    // All but the last byte is as good as all of it: a node that reads what it gets before it takes
    // the poll back would choose its work, and look at the rest, for nothing.
    const lost = (wasBegun: boolean) =>
      void tasks.fail(nodeId, task.taskToken, wasBegun ? 'execute.node_lost' : 'edge.undelivered');
    if (call.signal.aborted) {
      lost(false);
      return { message: NO_TASK };
    }
    try {
      return { message: pollResponse(task, tasks.deliver(nodeId, task)), onLost: lost };
    } catch (error) {
      // Nobody else would give it back before its time is up.
      await tasks.fail(nodeId, task.taskToken, 'edge.undelivered');
      throw new Refusal('edge.unavailable', `the task can not be sealed: ${String(error)}`);
    }
  }
}

function end(poll: OpenPoll, reason: EndReason): void {
  poll.reason ??= reason;
  poll.controller.abort();
}

/** Why a poll was answered with nothing, if that is nothing to speak of. */
function noAnswer(error: unknown, poll: OpenPoll): null {
  if (!(error instanceof UpstreamError)) throw error;
  if (error.status === status.CANCELLED && poll.reason !== undefined) return null;
  if (error.status === status.DEADLINE_EXCEEDED) return null;
  throw refusalOf(error);
}

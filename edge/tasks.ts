import { status } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { openTaskToken, sealTaskToken, TaskTokenError } from '../crypto/task-token.ts';
import type { Ring, WrapKey } from '../crypto/keys.ts';
import type { EDGE_REPORTED_CODES } from '../protocol/execute.ts';
import type { NodeId } from '../protocol/ids.ts';
import { InFlight } from './in-flight.ts';
import type { UpstreamTask } from './poll-messages.ts';
import { edgeFailureRequest } from './respond-messages.ts';
import { Refusal } from './refusals.ts';
import { UpstreamError, type Upstream } from './upstream.ts';

export interface TasksOptions {
  readonly upstream: Upstream;
  readonly namespace: string;
  readonly ring: Ring<WrapKey>;
  readonly log: Pick<Logger, 'warn' | 'info'>;
}

/** How long Temporal may take to take an answer. */
export const ANSWER_MS_MAX = 10_000;
/** After a task's time is up Temporal still has to say so. */
const OVER_MS = 5_000;

/** Tasks between Temporal and nodes: their tokens, and what becomes of those that are lost. */
export class Tasks {
  readonly #options: TasksOptions;
  readonly inFlight = new InFlight();

  constructor(options: TasksOptions) {
    this.#options = options;
  }

  /** Notes that a node gets a task. @returns the token that the node gets. */
  deliver(nodeId: NodeId, { taskToken, startToCloseMs }: UpstreamTask): Buffer {
    const nowMs = Date.now();
    const sealed = sealTaskToken(this.#options.ring, nodeId, taskToken, nowMs);
    this.inFlight.add(nodeId, taskToken, nowMs, nowMs + startToCloseMs + OVER_MS);
    return sealed;
  }

  /** Opens a token that a node shows. @throws Refusal `edge.token_invalid` */
  open(nodeId: NodeId, sealed: Uint8Array): Buffer {
    try {
      return openTaskToken(this.#options.ring, nodeId, sealed, Date.now());
    } catch (error) {
      if (error instanceof TaskTokenError) throw new Refusal('edge.token_invalid', error.message);
      throw error;
    }
  }

  /** Fails a task in the edge's own name. That it may be over already is no fault. */
  async fail(
    nodeId: NodeId,
    taskToken: Uint8Array,
    code: (typeof EDGE_REPORTED_CODES)[number],
  ): Promise<void> {
    const { upstream, namespace, log } = this.#options;
    this.inFlight.remove(nodeId, taskToken);
    const message = edgeFailureRequest(code, { taskToken, nodeId, namespace });
    try {
      await upstream.call('RespondActivityTaskFailed', message, {
        deadlineMs: Date.now() + ANSWER_MS_MAX,
      });
      log.info({ nodeId, code }, 'edge // a task was failed for its node');
    } catch (error) {
      // Temporal's own timeouts find it, later.
      if (!(error instanceof UpstreamError && error.status === status.NOT_FOUND))
        log.warn({ error: String(error), nodeId, code }, 'edge // a lost task could not be failed');
    }
  }

  /** Fails all that the node got here until then. */
  async failAll(nodeId: NodeId, deliveredUntilMs?: number): Promise<void> {
    const tokens = this.inFlight.take(nodeId, deliveredUntilMs);
    await Promise.all(tokens.map((token) => this.fail(nodeId, token, 'execute.node_lost')));
  }
}

import type { Logger } from 'pino';
import type { NodeId } from '../protocol/ids.ts';
import type { Pool } from './pool.ts';
import type { Tasks } from './tasks.ts';

/** Two heartbeats of a node. */
const COME_BACK_MS = 4_000;

export interface LostNodesOptions {
  readonly tasks: Tasks;
  readonly pool: Pick<Pool, 'wasSeen'>;
  readonly isConnected: (nodeId: NodeId) => boolean;
  readonly log: Pick<Logger, 'warn'>;
  /** How long a node may take to come back, here or elsewhere; 4,000 by default. */
  readonly comeBackMs?: number;
}

/**
 * Fails the tasks of nodes that are gone, sooner than Temporal's heartbeat timeout would. A node
 * that sends heartbeats goes on with its work: it may have come back by another edge.
 */
export class LostNodes {
  readonly #options: LostNodesOptions;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #comeBackMs: number;
  #isStopped = false;

  constructor(options: LostNodesOptions) {
    this.#options = options;
    this.#comeBackMs = options.comeBackMs ?? COME_BACK_MS;
  }

  /** A node has no connection here any more. */
  gone(nodeId: NodeId): void {
    this.#decideLater(nodeId, Date.now());
  }

  stop(): void {
    this.#isStopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }

  #decideLater(nodeId: NodeId, goneAtMs: number): void {
    if (this.#isStopped || !this.#options.tasks.inFlight.has(nodeId)) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      void this.#decide(nodeId, goneAtMs);
    }, this.#comeBackMs);
    this.#timers.add(timer);
  }

  async #decide(nodeId: NodeId, goneAtMs: number): Promise<void> {
    const { tasks, pool, isConnected, log } = this.#options;
    if (isConnected(nodeId)) return;
    try {
      // Until its tasks are over it may be lost elsewhere, where nobody knows of them.
      if (await pool.wasSeen(nodeId, this.#comeBackMs)) this.#decideLater(nodeId, goneAtMs);
      else await tasks.failAll(nodeId, goneAtMs);
    } catch (error) {
      log.warn({ error: String(error), nodeId }, 'edge // a lost node could not be looked up');
    }
  }
}

import type { Logger } from 'pino';
import type { NodeId } from '../protocol/ids.ts';
import type { Pool } from './pool.ts';
import type { Tasks } from './tasks.ts';

/** How long a node whose connections are gone may take to come back, here or elsewhere. */
const COME_BACK_MS = 4_000;

export interface LostNodesOptions {
  readonly tasks: Tasks;
  readonly pool: Pick<Pool, 'wasSeen'>;
  readonly isConnected: (nodeId: NodeId) => boolean;
  readonly log: Pick<Logger, 'warn'>;
}

/**
 * Fails the tasks of nodes that are gone, sooner than Temporal's heartbeat timeout would. A node
 * that sends heartbeats goes on with its work: it may have come back by another edge.
 */
export class LostNodes {
  readonly #options: LostNodesOptions;
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(options: LostNodesOptions) {
    this.#options = options;
  }

  /** A node has no connection here any more. */
  gone(nodeId: NodeId): void {
    if (!this.#options.tasks.inFlight.has(nodeId)) return;
    const goneAtMs = Date.now();
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      void this.#decide(nodeId, goneAtMs);
    }, COME_BACK_MS);
    this.#timers.add(timer);
  }

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }

  async #decide(nodeId: NodeId, goneAtMs: number): Promise<void> {
    const { tasks, pool, isConnected, log } = this.#options;
    if (isConnected(nodeId)) return;
    try {
      if (await pool.wasSeen(nodeId, COME_BACK_MS)) return;
      await tasks.failAll(nodeId, goneAtMs);
    } catch (error) {
      log.warn({ error, nodeId }, 'edge // a lost node could not be looked up');
    }
  }
}

import type { Logger } from 'pino';
import { sql, type Database } from '../prisma/client.ts';
import type { NodeId } from '../protocol/ids.ts';
import { Refusal } from './refusals.ts';

/** What the edge has to know of the pool: who is out of it, and who was heard of lately. */
export interface Pool {
  /**
   * Whether a node was removed, as of some two seconds ago. A node that isn't registered yet
   * isn't removed. While PostgreSQL is away the last answer counts.
   *
   * @throws Refusal `edge.unavailable` when there was no answer yet.
   */
  isRemoved(nodeId: NodeId): Promise<boolean>;
  /** Told of each node that is found to be removed while it is watched. */
  onRemoved(listener: (nodeId: NodeId) => void): void;
  /** Looks a node up every two seconds, until it isn't watched any more. */
  watch(nodeId: NodeId): void;
  unwatch(nodeId: NodeId): void;
  /** Whether the node sent a heartbeat within so many milliseconds, by any edge. */
  wasSeen(nodeId: NodeId, withinMs: number): Promise<boolean>;
  stop(): void;
}

const LOOK_MS = 2_000;

interface Known {
  readonly isRemoved: boolean;
  readonly atMs: number;
}

/**
 * Watches the nodes of this edge in PostgreSQL.
 *
 * @param others who is watched besides those that are connected.
 */
export function watchPool(
  database: Database,
  log: Pick<Logger, 'warn'>,
  others: () => readonly NodeId[],
): Pool {
  return new WatchedPool(database, log, others);
}

class WatchedPool implements Pool {
  readonly #database: Database;
  readonly #log: Pick<Logger, 'warn'>;
  readonly #others: () => readonly NodeId[];
  readonly #known = new Map<NodeId, Known>();
  /** How often each node is watched. */
  readonly #watched = new Map<NodeId, number>();
  readonly #listeners: ((nodeId: NodeId) => void)[] = [];
  readonly #timer: NodeJS.Timeout;
  #soon: { readonly ids: Set<NodeId>; readonly done: Promise<void> } | undefined;
  #isLooking = false;

  constructor(database: Database, log: Pick<Logger, 'warn'>, others: () => readonly NodeId[]) {
    this.#database = database;
    this.#log = log;
    this.#others = others;
    this.#timer = setInterval(() => this.#lookAgain(), LOOK_MS).unref();
  }

  async isRemoved(nodeId: NodeId): Promise<boolean> {
    // What is known is kept up to date, or forgotten.
    if (!this.#known.has(nodeId)) {
      try {
        await this.#lookUpSoon(nodeId);
      } catch {
        throw new Refusal('edge.unavailable', 'the pool can not be looked up');
      }
    }
    return this.#known.get(nodeId)?.isRemoved ?? false;
  }

  onRemoved(listener: (nodeId: NodeId) => void): void {
    this.#listeners.push(listener);
  }

  watch(nodeId: NodeId): void {
    this.#watched.set(nodeId, (this.#watched.get(nodeId) ?? 0) + 1);
  }

  unwatch(nodeId: NodeId): void {
    const count = (this.#watched.get(nodeId) ?? 0) - 1;
    if (count > 0) this.#watched.set(nodeId, count);
    else this.#watched.delete(nodeId);
  }

  async wasSeen(nodeId: NodeId, withinMs: number): Promise<boolean> {
    const rows = await this.#database.$queryRaw<unknown[]>(
      sql`SELECT 1 FROM node
          WHERE id = ${nodeId} AND last_seen_at > now() - ${withinMs} * interval '1 millisecond'`,
    );
    return rows.length > 0;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #lookAgain(): void {
    const forgottenMs = performance.now() - LOOK_MS;
    const ids = new Set([...this.#watched.keys(), ...this.#others()]);
    for (const [id, { atMs }] of this.#known)
      if (!ids.has(id) && atMs < forgottenMs) this.#known.delete(id);
    if (this.#isLooking || ids.size === 0) return;
    this.#isLooking = true;
    this.#lookUp([...ids])
      .catch((error: unknown) =>
        this.#log.warn({ error: String(error) }, 'edge // the pool can not be looked up'),
      )
      .finally(() => (this.#isLooking = false));
  }

  /** Those who ask in the same moment are looked up together. */
  #lookUpSoon(nodeId: NodeId): Promise<void> {
    if (!this.#soon) {
      const ids = new Set<NodeId>();
      const done = Promise.resolve().then(() => {
        this.#soon = undefined;
        return this.#lookUp([...ids]);
      });
      this.#soon = { ids, done };
    }
    this.#soon.ids.add(nodeId);
    return this.#soon.done;
  }

  async #lookUp(ids: readonly NodeId[]): Promise<void> {
    const rows = await this.#database.$queryRaw<{ id: NodeId }[]>(
      sql`SELECT id FROM node WHERE id = ANY(${[...ids]}) AND status = 'removed'`,
    );
    const removed = new Set(rows.map(({ id }) => id));
    const atMs = performance.now();
    for (const id of ids) {
      const isRemoved = removed.has(id);
      const wasRemoved = this.#known.get(id)?.isRemoved ?? false;
      this.#known.set(id, { isRemoved, atMs });
      if (isRemoved && !wasRemoved) for (const listener of this.#listeners) listener(id);
    }
  }
}

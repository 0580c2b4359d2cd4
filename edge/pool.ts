import type { Logger } from 'pino';
import { sql, type Database } from '../prisma/client.ts';
import type { NodeId } from '../protocol/ids.ts';
import { Refusal } from './refusals.ts';

/** What the edge has to know of the pool: who is out of it, and who was heard of lately. */
export interface Pool {
  /**
   * Whether a node was removed, as of two seconds ago at most. A node that isn't registered yet
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

/** Watches the nodes of this edge in PostgreSQL. */
export function watchPool(database: Database, log: Pick<Logger, 'warn'>): Pool {
  const known = new Map<NodeId, Known>();
  const watched = new Map<NodeId, number>();
  const listeners: ((nodeId: NodeId) => void)[] = [];
  let waiting: { readonly ids: Set<NodeId>; readonly done: Promise<void> } | undefined;

  async function lookUp(ids: readonly NodeId[]): Promise<void> {
    const rows = await database.$queryRaw<{ id: NodeId }[]>(
      sql`SELECT id FROM node WHERE id = ANY(${[...ids]}) AND status = 'removed'`,
    );
    const removed = new Set(rows.map(({ id }) => id));
    const atMs = performance.now();
    for (const id of ids) {
      const isRemoved = removed.has(id);
      const wasRemoved = known.get(id)?.isRemoved ?? false;
      known.set(id, { isRemoved, atMs });
      if (isRemoved && !wasRemoved) for (const listener of listeners) listener(id);
    }
  }

  /** Those who ask in the same moment are looked up together. */
  function lookUpSoon(nodeId: NodeId): Promise<void> {
    if (!waiting) {
      const ids = new Set<NodeId>();
      const done = Promise.resolve().then(() => {
        waiting = undefined;
        return lookUp([...ids]);
      });
      waiting = { ids, done };
    }
    waiting.ids.add(nodeId);
    return waiting.done;
  }

  let isLooking = false;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    for (const [id, { atMs }] of known)
      if (!watched.has(id) && atMs < nowMs - LOOK_MS) known.delete(id);
    if (isLooking || watched.size === 0) return;
    isLooking = true;
    lookUp([...watched.keys()])
      .catch((error: unknown) => log.warn({ error }, 'edge // the pool can not be looked up'))
      .finally(() => (isLooking = false));
  }, LOOK_MS).unref();

  return {
    async isRemoved(nodeId) {
      const found = known.get(nodeId);
      // Once and a half: what is watched is looked up by the timer.
      if (found && performance.now() - found.atMs < 1.5 * LOOK_MS) return found.isRemoved;
      try {
        await lookUpSoon(nodeId);
      } catch {
        if (!found) throw new Refusal('edge.unavailable', 'the pool can not be looked up');
      }
      return known.get(nodeId)?.isRemoved ?? false;
    },
    onRemoved: (listener) => void listeners.push(listener),
    watch(nodeId) {
      watched.set(nodeId, (watched.get(nodeId) ?? 0) + 1);
    },
    unwatch(nodeId) {
      const count = (watched.get(nodeId) ?? 0) - 1;
      if (count > 0) watched.set(nodeId, count);
      else watched.delete(nodeId);
    },
    async wasSeen(nodeId, withinMs) {
      const rows = await database.$queryRaw<unknown[]>(
        sql`SELECT 1 FROM node
            WHERE id = ${nodeId} AND last_seen_at > now() - ${withinMs} * interval '1 millisecond'`,
      );
      return rows.length > 0;
    },
    stop: () => clearInterval(timer),
  };
}

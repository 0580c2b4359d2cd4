import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from '@temporalio/worker';

const LOOK_MS = 250;
/** An edge may know of a removal before a heartbeat tells it. */
const TOLD_MS_MAX = 5_000;

/** A node's Temporal workers, one after the other. */
export interface Polling {
  /** Resolves after `stop`; rejects with what a worker ended by itself with. */
  readonly ended: Promise<void>;
  /** Takes nothing new, and ends what runs. */
  stop(): Promise<void>;
}

/**
 * Polls for as long as the node is in the pool. Edges refuse the polls of a removed node, which
 * would end its worker, and the process with it, again and again. So the worker is shut down, and
 * another one begins once the node was let in again.
 *
 * @param create makes a worker that doesn't run yet.
 * @param isInPool as the latest heartbeat was told.
 * @param done told of each worker that has ended.
 */
export function pollWhileInPool(
  create: () => Promise<Worker>,
  isInPool: () => boolean,
  done: (worker: Worker) => void = () => {},
): Polling {
  const stopped = new AbortController();
  const { signal } = stopped;
  const until = async (isSo: () => boolean, msMax = Infinity) => {
    const endMs = performance.now() + msMax;
    while (!isSo() && !signal.aborted && performance.now() < endMs) await sleep(LOOK_MS);
    return isSo();
  };

  async function serve(worker: Worker): Promise<void> {
    let isOver = false;
    const running = worker.run().finally(() => (isOver = true));
    const isToEnd = () => isOver || !isInPool();
    void until(isToEnd).then(() => {
      if (worker.getState() === 'RUNNING') worker.shutdown();
    });
    try {
      await running;
    } catch (error) {
      if (!(await until(() => !isInPool(), TOLD_MS_MAX))) throw error;
    } finally {
      done(worker);
    }
  }

  async function poll(): Promise<void> {
    while (!signal.aborted) if (await until(isInPool)) await serve(await create());
  }

  const ended = poll();
  return {
    ended,
    async stop() {
      stopped.abort();
      await ended;
    },
  };
}

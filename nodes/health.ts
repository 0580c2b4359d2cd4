import { setTimeout as sleep } from 'node:timers/promises';
import { BackendFailedError, type Backend } from './backends/backend.ts';
import type { Log } from './membership.ts';

const CHECK_MS = 2_000;
const WAIT_MS_MIN = 1_000;
const WAIT_MS_MAX = 30_000;

/**
 * Waits for a backend that isn't there yet, for ever and ever less often (1 to 30 s): a node that
 * gave up would only be started again. Each failed try is logged with its reason.
 *
 * @param connect throws `BackendFailedError` as long as the backend isn't ready.
 * @throws any other error of `connect`, at once: waiting doesn't mend those.
 */
export async function waitForBackend<T>(
  connect: () => Promise<T>,
  log: Log,
  waitMsMin = WAIT_MS_MIN,
): Promise<T> {
  for (let waitMs = waitMsMin; ; waitMs = Math.min(2 * waitMs, WAIT_MS_MAX)) {
    try {
      return await connect();
    } catch (error) {
      if (!(error instanceof BackendFailedError)) throw error;
      const fields = { error: error.message, nextTryInSeconds: waitMs / 1_000 };
      log.warn(fields, 'node // the backend is not ready, waiting for it');
      await sleep(waitMs);
    }
  }
}

/** Whether a node's backend can serve, as of the last look at it. */
export interface HealthWatch {
  isHealthy(): boolean;
  stop(): Promise<void>;
}

/**
 * Looks at a backend that was ready, every `checkMs` milliseconds (2,000 by default), and logs when
 * that changes. It never ends by itself, so that a node comes back with its backend.
 */
export function watchHealth(
  backend: Pick<Backend, 'health'>,
  log: Log,
  checkMs = CHECK_MS,
): HealthWatch {
  const stopped = new AbortController();
  let healthy = true;

  async function look(): Promise<void> {
    try {
      await backend.health();
      if (!healthy) log.info('node // the backend is back');
      healthy = true;
    } catch (error) {
      if (stopped.signal.aborted) return;
      // Said once per outage, not every two seconds.
      if (healthy)
        log.warn(
          { error: error instanceof Error ? error.message : String(error) },
          'node // the backend is not healthy: no new work until it is back',
        );
      healthy = false;
    }
  }

  async function watch(): Promise<void> {
    while (!stopped.signal.aborted) {
      await look();
      await sleep(checkMs, undefined, { signal: stopped.signal }).catch(() => undefined);
    }
  }

  const watching = watch();
  return {
    isHealthy: () => healthy,
    async stop() {
      stopped.abort();
      await watching;
    },
  };
}

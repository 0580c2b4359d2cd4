import { setTimeout as sleep } from 'node:timers/promises';
import type { RunningAttempt } from '../protocol/presence.ts';

/** What isn't picked up within this time after it was dispatched goes to another node. */
const PICKUP_MS_MAX = 2_000;
const LOOK_MS = 20;

/** What a node executes now; each heartbeat tells it, so that no slot is held for nothing. */
export class RunningAttempts {
  readonly #running = new Map<string, RunningAttempt>();
  readonly #awaited = new Set<string>();

  /** @returns what to call when it is over. */
  begin({ unitId, dispatch }: RunningAttempt): () => void {
    const key = `${unitId}/${dispatch}`;
    this.#running.set(key, { unitId, dispatch });
    this.#awaited.delete(key);
    return () => void this.#running.delete(key);
  }

  list(): readonly RunningAttempt[] {
    return [...this.#running.values()];
  }

  /** Waits until these have begun, or would have been by now. */
  async haveBegun(attempts: readonly RunningAttempt[], withinMs = PICKUP_MS_MAX): Promise<void> {
    const untilMs = performance.now() + withinMs;
    const keys = attempts.map(({ unitId, dispatch }) => `${unitId}/${dispatch}`);
    for (const key of keys) if (!this.#running.has(key)) this.#awaited.add(key);
    while (this.#awaited.size > 0 && performance.now() < untilMs) await sleep(LOOK_MS);
    this.#awaited.clear();
  }
}

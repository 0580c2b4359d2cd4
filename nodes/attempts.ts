import { setTimeout as sleep } from 'node:timers/promises';
import type { RunningAttempt } from '../protocol/presence.ts';

/** What isn't picked up within this time after it was dispatched goes to another node. */
const PICKUP_MS_MAX = 2_000;
const LOOK_MS = 20;
/** A command may overtake the work that it is about by as much as it takes to open a ticket. */
const EARLY_MAX = 64;

/** One execution that can be cancelled from outside. */
export interface Attempt {
  readonly signal: AbortSignal;
  /** Once it is over. */
  end(): void;
}

interface Running {
  readonly attempt: RunningAttempt;
  readonly controller: AbortController;
  /** Executions of it that aren't over. */
  count: number;
}

/**
 * The executions that run on this node. Each heartbeat tells them, so that no slot is held for
 * nothing, and commands cancel them. A command about anything else does nothing: there is nothing
 * to stop.
 */
export class Attempts {
  readonly #running = new Map<string, Running>();
  readonly #early = new Set<string>();
  readonly #awaited = new Set<string>();

  begin({ unitId, dispatch }: RunningAttempt): Attempt {
    const key = keyOf({ unitId, dispatch });
    const running = this.#running.get(key) ?? {
      attempt: { unitId, dispatch },
      controller: new AbortController(),
      count: 0,
    };
    running.count += 1;
    this.#running.set(key, running);
    this.#awaited.delete(key);
    if (this.#early.delete(key)) running.controller.abort();
    return {
      signal: running.controller.signal,
      end: () => {
        running.count -= 1;
        if (running.count === 0) this.#running.delete(key);
      },
    };
  }

  list(): readonly RunningAttempt[] {
    return [...this.#running.values()].map(({ attempt }) => attempt);
  }

  cancel(attempt: RunningAttempt): void {
    const key = keyOf(attempt);
    const running = this.#running.get(key);
    if (running) {
      running.controller.abort();
      return;
    }
    this.#early.add(key);
    const [oldest] = this.#early;
    if (this.#early.size > EARLY_MAX && oldest !== undefined) this.#early.delete(oldest);
  }

  /** Waits until these have begun, or would have been by now. */
  async haveBegun(attempts: readonly RunningAttempt[], withinMs = PICKUP_MS_MAX): Promise<void> {
    const untilMs = performance.now() + withinMs;
    for (const key of attempts.map(keyOf)) if (!this.#running.has(key)) this.#awaited.add(key);
    while (this.#awaited.size > 0 && performance.now() < untilMs) await sleep(LOOK_MS);
    this.#awaited.clear();
  }
}

function keyOf({ unitId, dispatch }: RunningAttempt): string {
  return `${unitId}/${dispatch}`;
}

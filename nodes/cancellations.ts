import type { UnitId } from '../protocol/ids.ts';

/** An attempt as its opened ticket names it. */
export interface AttemptName {
  readonly unitId: UnitId;
  readonly dispatch: number;
}

/** One execution that can be cancelled from outside. */
export interface Cancellable {
  readonly signal: AbortSignal;
  /** Once it is over. */
  end(): void;
}

/** A command may overtake the work that it is about by as much as it takes to open a ticket. */
const EARLY_MAX = 64;

/**
 * The executions that run on this node, for commands that cancel one of them. A command about
 * anything else does nothing: it can't tell whose it is, and there is nothing to stop.
 */
export class Cancellations {
  readonly #running = new Map<string, AbortController>();
  readonly #early = new Set<string>();

  begin(attempt: AttemptName): Cancellable {
    const key = keyOf(attempt);
    const controller = new AbortController();
    if (this.#early.delete(key)) controller.abort();
    this.#running.set(key, controller);
    return {
      signal: controller.signal,
      end: () => {
        if (this.#running.get(key) === controller) this.#running.delete(key);
      },
    };
  }

  cancel(attempt: AttemptName): void {
    const key = keyOf(attempt);
    const running = this.#running.get(key);
    if (running) {
      running.abort();
      return;
    }
    this.#early.add(key);
    const [oldest] = this.#early;
    if (this.#early.size > EARLY_MAX && oldest !== undefined) this.#early.delete(oldest);
  }
}

function keyOf({ unitId, dispatch }: AttemptName): string {
  return `${unitId} ${dispatch}`;
}

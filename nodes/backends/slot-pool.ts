interface Waiter<T> {
  readonly give: (slot: T) => void;
  readonly fail: (reason: Error) => void;
}

/** A fixed set of slots, lent one at a time to whoever has waited longest. */
export class SlotPool<T> {
  readonly #free: T[];
  readonly #waiting: Waiter<T>[] = [];
  #closedBy: Error | undefined;

  constructor(slots: readonly T[]) {
    this.#free = [...slots];
  }

  /**
   * A free slot, or undefined when `signal` aborted first. Rejects with the pool's reason when the
   * pool is closed.
   */
  async take(signal: AbortSignal): Promise<T | undefined> {
    this.assertOpen();
    if (signal.aborted) return undefined;
    return this.#free.pop() ?? (await this.#wait(signal));
  }

  /** Throws the pool's reason once it is closed. */
  assertOpen(): void {
    if (this.#closedBy) throw this.#closedBy;
  }

  /** Hands a slot to the next in line. */
  give(slot: T): void {
    const next = this.#waiting.shift();
    if (next) next.give(slot);
    else this.#free.push(slot);
  }

  /** Rejects all who wait and all who come, with `reason`. The first reason stands. */
  close(reason: Error): void {
    this.#closedBy ??= reason;
    for (const waiter of this.#waiting.splice(0)) waiter.fail(this.#closedBy);
  }

  async #wait(signal: AbortSignal): Promise<T | undefined> {
    let leave = (): void => undefined;
    const turn = new Promise<T | undefined>((resolve, reject) => {
      const waiter = { give: resolve, fail: reject };
      leave = () => {
        const place = this.#waiting.indexOf(waiter);
        // Once a slot was given, the abort comes too late: the borrower sees the signal itself.
        if (place === -1) return;
        this.#waiting.splice(place, 1);
        resolve(undefined);
      };
      this.#waiting.push(waiter);
    });
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await turn;
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }
}

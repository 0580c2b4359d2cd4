/**
 * Cuts a stream of text before the first stop string to be complete (the longer one when two end
 * together), and holds back what may become one. The outcome doesn't depend on how the text was
 * split. node-llama-cpp's own detector isn't used because it tokenises cut text anew, which changes
 * the ids that a check compares.
 */
export class StopScanner {
  readonly #stops: readonly string[];
  #held = '';
  #stopped = false;

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** Whether a stop string came; no text follows it. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** The text that can be shown after `text` came. */
  push(text: string): string {
    if (this.#stopped) return '';
    const pending = this.#held + text;
    const cut = this.#firstStop(pending);
    this.#stopped = cut !== undefined;
    const shownLength = cut ?? pending.length - this.#heldLength(pending);
    this.#held = this.#stopped ? '' : pending.slice(shownLength);
    return pending.slice(0, shownLength);
  }

  /** The text held back, once no more will come. */
  end(): string {
    const rest = this.#held;
    this.#held = '';
    return rest;
  }

  /** Where the first completed stop string starts. */
  #firstStop(text: string): number | undefined {
    let first: { start: number; end: number } | undefined;
    for (const stop of this.#stops) {
      const start = text.indexOf(stop);
      const end = start + stop.length;
      if (
        start === -1 ||
        (first && (end > first.end || (end === first.end && start > first.start)))
      )
        continue;
      first = { start, end };
    }
    return first?.start;
  }

  /** Length of the longest tail that is the beginning of a stop string. */
  #heldLength(text: string): number {
    const lengths = this.#stops.map((stop) => {
      let length = Math.min(stop.length - 1, text.length);
      while (length > 0 && !text.endsWith(stop.slice(0, length))) length -= 1;
      return length;
    });
    return Math.max(0, ...lengths);
  }
}

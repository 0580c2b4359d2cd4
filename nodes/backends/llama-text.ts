/** Turns tokens into text; `previous` are the tokens before them. */
export type Detokenize<T> = (tokens: readonly T[], previous: readonly T[]) => string;

/** What decoders put in the place of bytes that aren't a whole character. */
const REPLACEMENT = '\uFFFD';
/** Tokens of left context that tokenizers with spaces in their heads look at. */
const CONTEXT_TOKENS = 4;

/**
 * Token ids to text, in whole characters: one character's bytes may be spread over several tokens,
 * and no half of it may be shown.
 */
export class TokenDecoder<T> {
  readonly #detokenize: Detokenize<T>;
  /** Tokens whose text isn't shown to its end, and how much of it is, in UTF-16 code units. */
  #open: T[] = [];
  #shownLength = 0;
  #previous: readonly T[] = [];

  constructor(detokenize: Detokenize<T>) {
    this.#detokenize = detokenize;
  }

  /** The text that one more token completes; empty while a character is unfinished. */
  push(tokenId: T): string {
    this.#open.push(tokenId);
    const text = this.#detokenize(this.#open, this.#previous);
    const isWhole = !text.endsWith(REPLACEMENT);
    // An unfinished tail is one replacement character (WHATWG "maximal subpart"); those before it
    // stand for bytes that can't become a character any more.
    const whole = isWhole ? text : text.slice(0, -REPLACEMENT.length);
    const delta = whole.slice(this.#shownLength);
    this.#shownLength = whole.length;
    if (isWhole) {
      this.#previous = [...this.#previous, ...this.#open].slice(-CONTEXT_TOKENS);
      this.#open = [];
      this.#shownLength = 0;
    }
    return delta;
  }
}

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

/** Turns tokens into text; `previous` are the tokens before them. */
export type Detokenize<T> = (tokens: readonly T[], previous: readonly T[]) => string;

/** What decoders put in the place of bytes that aren't a whole character. */
const REPLACEMENT = '\uFFFD';
/** Tokens of left context that tokenizers with spaces in their heads look at. */
export const CONTEXT_TOKENS = 4;

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

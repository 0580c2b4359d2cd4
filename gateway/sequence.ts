import { CodedError } from '../protocol/errors.ts';

/** Of one chunk. Longer text goes out as several, so that a slow reader is seen to read. */
const PIECE_CHARACTERS_MAX = 16 * 1024;

/** A piece of text as a reader gets it. */
export interface NumberedText {
  readonly number: number;
  readonly text: string;
}

/**
 * Numbers what a stream says, and leaves out what its reader has. Numbers count UTF-16 code units
 * of text, and one for each chunk without text (0 is the first of them): so they don't depend on
 * how the text was cut, and a stream can be taken up anywhere (docs/decisions/0026-resuming.md).
 */
export class Sequence {
  readonly #after: number;
  #number = -1;

  /** @param after the last number that the reader has; -1 for none. */
  constructor(after = -1) {
    this.#after = after;
  }

  /** Of what was said last, whether the reader got it or had it; -1 before anything. */
  get number(): number {
    return this.#number;
  }

  /** A chunk without text. @returns its number, or null if the reader has it. */
  mark(): number | null {
    this.#number += 1;
    return this.#number > this.#after ? this.#number : null;
  }

  /** @returns what the reader lacks of `text`; null if that is nothing. */
  text(text: string): NumberedText | null {
    const before = this.#number;
    this.#number += text.length;
    if (text === '' || this.#number <= this.#after) return null;
    return { number: this.#number, text: text.slice(Math.max(0, this.#after - before)) };
  }
}

/** Cuts text into pieces of bounded length, never within a surrogate pair. */
export function piecesOf(text: string, charactersMax = PIECE_CHARACTERS_MAX): string[] {
  const pieces: string[] = [];
  for (let from = 0; from < text.length;) {
    let to = Math.min(from + charactersMax, text.length);
    if (to < text.length && isPair(text, to - 1)) to += to - from > 1 ? -1 : 1;
    pieces.push(text.slice(from, to));
    from = to;
  }
  return pieces;
}

function isPair(text: string, index: number): boolean {
  return (text.codePointAt(index) ?? 0) > 0xffff;
}

/**
 * The text of one answer, across attempts at it. What was sent can't be taken back, so a later
 * attempt only ever adds to it; if its text differs, nothing more is sent until the result says
 * what is true.
 */
export class SentText {
  #sent = '';
  /** How much of what was sent the current attempt has said, too. */
  #matched = 0;
  #differs = false;

  /** Of another attempt, or of the same one from its beginning. */
  restart(): void {
    this.#matched = 0;
    this.#differs = false;
  }

  /** @returns what `delta`, the next text of the attempt, adds to what was sent; often nothing. */
  add(delta: string): string {
    if (this.#differs) return '';
    const known = this.#sent.slice(this.#matched, this.#matched + delta.length);
    if (!delta.startsWith(known)) {
      this.#differs = true;
      return '';
    }
    const added = delta.slice(known.length);
    this.#matched += delta.length;
    this.#sent += added;
    return added;
  }

  /**
   * @returns what is missing of the validated text.
   * @throws CodedError `gateway.stream_superseded` if something else was sent already.
   */
  rest(text: string): string {
    if (!text.startsWith(this.#sent)) throw new CodedError('gateway.stream_superseded');
    const added = text.slice(this.#sent.length);
    this.#sent = text;
    return added;
  }
}

import type { Ring, X25519Key } from '../crypto/keys.ts';
import { createStreamOpener, type StreamOpener } from '../crypto/stream.ts';
import { CodedError } from '../protocol/errors.ts';
import { parseNodeId, parseRequestId } from '../protocol/ids.ts';

interface SealedFrame {
  readonly dispatch: number;
  readonly attemptNumber: number;
  readonly node: string;
  readonly frame: string;
}

/**
 * Turns the sealed frames of one request into text for its caller, across attempts. What was sent
 * can't be taken back, so a later attempt only ever adds to it; if its text differs, nothing more
 * is sent until the result says what is true.
 */
export class TextStream {
  readonly #ring: Ring<X25519Key>;
  readonly #requestId: string;
  #dispatch = 0;
  #opener: StreamOpener | null = null;
  /** Of the current attempt. */
  #text = '';
  #sent = '';

  constructor(ring: Ring<X25519Key>, requestId: string) {
    this.#ring = ring;
    this.#requestId = requestId;
  }

  /** @returns the text that a frame adds to what was sent; often none. */
  next(sealed: SealedFrame): string {
    const { dispatch, frame } = sealed;
    if (dispatch < this.#dispatch) return '';
    if (dispatch > this.#dispatch) this.#begin(sealed);
    if (!this.#opener) return '';
    try {
      const opened = this.#opener.open(frame);
      if (opened.kind === 'delta') this.#text += opened.delta;
    } catch {
      // A gap, after a lost connection perhaps: the result will bring the rest.
      this.#opener = null;
      return '';
    }
    if (!this.#text.startsWith(this.#sent)) return '';
    return this.#send(this.#text);
  }

  /**
   * @returns what is missing of the validated text.
   * @throws CodedError `gateway.stream_superseded` if something else was sent already.
   */
  rest(text: string): string {
    if (!text.startsWith(this.#sent)) throw new CodedError('gateway.stream_superseded');
    return this.#send(text);
  }

  #begin({ dispatch, attemptNumber, node }: SealedFrame): void {
    this.#dispatch = dispatch;
    this.#text = '';
    this.#opener = createStreamOpener(this.#ring, {
      unitId: parseRequestId(this.#requestId),
      dispatch: attemptNumber,
      nodeId: parseNodeId(node),
    });
  }

  #send(text: string): string {
    const added = text.slice(this.#sent.length);
    this.#sent = text;
    return added;
  }
}

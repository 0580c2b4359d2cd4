import type { Ring, X25519Key } from '../crypto/keys.ts';
import { createStreamOpener, type StreamOpener } from '../crypto/stream.ts';
import { parseNodeId, parseRequestId } from '../protocol/ids.ts';
import { SentText } from './sequence.ts';

interface SealedFrame {
  readonly dispatch: number;
  readonly attemptNumber: number;
  readonly node: string;
  readonly frame: string;
}

/**
 * Turns the sealed frames of one request into text for its caller, across attempts: see `SentText`.
 */
export class TextStream {
  readonly #ring: Ring<X25519Key>;
  readonly #requestId: string;
  readonly #sent = new SentText();
  #dispatch = 0;
  #opener: StreamOpener | null = null;

  constructor(ring: Ring<X25519Key>, requestId: string) {
    this.#ring = ring;
    this.#requestId = requestId;
  }

  /** Whoever passes frames on begins again with the first one of an attempt. */
  restart(): void {
    this.#dispatch = 0;
    this.#opener = null;
  }

  /** @returns the text that a frame adds to what was sent; often none. */
  next(sealed: SealedFrame): string {
    const { dispatch, frame } = sealed;
    if (dispatch < this.#dispatch) return '';
    if (dispatch > this.#dispatch) this.#begin(sealed);
    if (!this.#opener) return '';
    try {
      const opened = this.#opener.open(frame);
      return opened.kind === 'delta' ? this.#sent.add(opened.delta) : '';
    } catch {
      // A gap, after a lost connection perhaps: the result will bring the rest.
      this.#opener = null;
      return '';
    }
  }

  /**
   * @returns what is missing of the validated text.
   * @throws CodedError `gateway.stream_superseded` if something else was sent already.
   */
  rest(text: string): string {
    return this.#sent.rest(text);
  }

  #begin({ dispatch, attemptNumber, node }: SealedFrame): void {
    this.#dispatch = dispatch;
    this.#sent.restart();
    this.#opener = createStreamOpener(this.#ring, {
      unitId: parseRequestId(this.#requestId),
      dispatch: attemptNumber,
      nodeId: parseNodeId(node),
    });
  }
}

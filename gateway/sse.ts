import { once } from 'node:events';
import type { ServerResponse } from 'node:http';

/** Load balancers close what is silent; most wait a minute. */
export const PING_MS = 15_000;
/** How long a reader may take nothing of what was sent to it. */
export const READER_MS_MAX = 60_000;

/** By which a stream goes; each has a default. */
export interface StreamPace {
  /** Between two pings. */
  readonly pingMs?: number;
  /** After which a reader that takes nothing is cut off. */
  readonly readerMsMax?: number;
}

/** The reader has gone, or was cut off: nothing more can be said to it. */
export class ReaderGoneError extends Error {
  override readonly name = 'ReaderGoneError';
}

/**
 * Server-sent events to one reader, no faster than it reads: whoever sends waits, and so stops
 * reading where it has the events from.
 */
export class EventStream {
  readonly #raw: ServerResponse;
  readonly #readerMsMax: number;
  readonly #onTooSlow: () => void;
  readonly #ping: NodeJS.Timeout;

  /** @param onTooSlow called when a reader is cut off. */
  constructor(
    raw: ServerResponse,
    { pingMs = PING_MS, readerMsMax = READER_MS_MAX }: StreamPace,
    onTooSlow: () => void,
  ) {
    this.#raw = raw;
    this.#readerMsMax = readerMsMax;
    this.#onTooSlow = onTooSlow;
    this.#ping = setInterval(() => {
      // No empty line after it: with one, OpenAI's SDK in Python takes it for an empty event.
      if (!raw.writableNeedDrain && !raw.destroyed) raw.write(': ping\n');
    }, pingMs);
    raw.on('close', () => clearInterval(this.#ping));
  }

  /** @throws ReaderGoneError */
  async comment(text: string): Promise<void> {
    await this.#write(`: ${text}\n\n`);
  }

  /**
   * @param number by which the reader can take the stream up behind this event.
   * @throws ReaderGoneError
   */
  async data(data: unknown, number: number): Promise<void> {
    await this.#write(`id: ${number}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  /** An error that ends the stream: no `[DONE]` may follow. */
  async error(data: unknown): Promise<void> {
    await this.#end(`event: error\ndata: ${JSON.stringify(data)}\n\n`);
  }

  /** Ends a stream that has said all. */
  async done(): Promise<void> {
    await this.#end('data: [DONE]\n\n');
  }

  async #write(text: string): Promise<void> {
    if (this.#raw.destroyed) throw new ReaderGoneError();
    if (!this.#raw.write(text)) await this.#isTaken('drain');
  }

  async #end(text: string): Promise<void> {
    clearInterval(this.#ping);
    if (this.#raw.destroyed) throw new ReaderGoneError();
    this.#raw.end(text);
    await this.#isTaken('finish');
  }

  async #isTaken(event: 'drain' | 'finish'): Promise<void> {
    const over = new AbortController();
    const { signal } = over;
    const tooSlow = setTimeout(() => {
      this.#onTooSlow();
      this.#raw.destroy();
    }, this.#readerMsMax);
    try {
      const taken = once(this.#raw, event, { signal }).then(() => true);
      const closed = once(this.#raw, 'close', { signal }).then(() => false);
      // The one that doesn't come is given up below.
      for (const each of [taken, closed]) each.catch(() => {});
      if (!(await Promise.race([taken, closed]))) throw new ReaderGoneError();
    } finally {
      clearTimeout(tooSlow);
      over.abort();
    }
  }
}

/** How much of everything one node, or one address, may ask of an edge. */
export interface EdgeLimits {
  /** TLS handshakes per address and second, and how many at once. */
  readonly handshakesPerSecond: number;
  readonly handshakesBurst: number;
  readonly handshakeMs: number;
  /** In all, before anything is known of them. */
  readonly connections: number;
  readonly connectionsPerAddress: number;
  readonly connectionsPerNode: number;
  readonly streamsPerConnection: number;
  /** In all: fewer than Temporal's frontend takes (`frontend.namespaceCount`). */
  readonly polls: number;
  readonly pollsPerAddress: number;
  readonly pollsPerNode: number;
  readonly requestsPerSecond: number;
  readonly requestsBurst: number;
  readonly bytesPerSecond: number;
  readonly bytesBurst: number;
  /** Of one message, as sent and decompressed. */
  readonly messageBytes: number;
  /** Of all messages that are being dealt with: from one address, and together. */
  readonly heldBytesPerAddress: number;
  readonly heldBytes: number;
  /** Until a message that was begun has to be there. */
  readonly messageMs: number;
  /** Until an answer has to be taken. */
  readonly answerMs: number;
  readonly headerBytes: number;
  /** Calls that are taken back or refused, per connection: it is closed above that. */
  readonly wastedPerSecond: number;
  readonly wastedBurst: number;
  /** Between two signs that a connection still has another end, and how long one may take. */
  readonly keepaliveMs: number;
  readonly keepaliveTimeoutMs: number;
}

const MIB = 2 ** 20;

export const EDGE_LIMITS: EdgeLimits = {
  handshakesPerSecond: 20,
  handshakesBurst: 100,
  handshakeMs: 5_000,
  connections: 10_000,
  connectionsPerAddress: 1_024,
  connectionsPerNode: 8,
  streamsPerConnection: 64,
  polls: 8_000,
  pollsPerAddress: 1_200,
  pollsPerNode: 16,
  requestsPerSecond: 200,
  requestsBurst: 400,
  bytesPerSecond: 8 * MIB,
  bytesBurst: 64 * MIB,
  messageBytes: 4 * MIB,
  heldBytesPerAddress: 128 * MIB,
  heldBytes: 512 * MIB,
  messageMs: 10_000,
  answerMs: 30_000,
  headerBytes: 16 * 1_024,
  wastedPerSecond: 20,
  wastedBurst: 200,
  keepaliveMs: 15_000,
  keepaliveTimeoutMs: 10_000,
};

/** How many of something each key has at this moment. */
export class KeyedCounts {
  readonly #max: number;
  readonly #counts = new Map<string, number>();

  constructor(max: number) {
    this.#max = max;
  }

  /** One more, unless the key has as many as it may. What was acquired is released once. */
  acquire(key: string): boolean {
    const count = this.of(key);
    if (count >= this.#max) return false;
    this.#counts.set(key, count + 1);
    return true;
  }

  release(key: string): void {
    const count = this.of(key) - 1;
    if (count > 0) this.#counts.set(key, count);
    else this.#counts.delete(key);
  }

  of(key: string): number {
    return this.#counts.get(key) ?? 0;
  }
}

/** How much memory is held, for each key and together: nodes are free, memory is not. */
export class Held {
  readonly #perKeyMax: number;
  readonly #max: number;
  readonly #byKey = new Map<string, number>();
  #bytes = 0;

  constructor(perKeyMax: number, max: number) {
    this.#perKeyMax = perKeyMax;
    this.#max = max;
  }

  /** Holds so much more in any case. @returns whether that is within both limits. */
  hold(key: string, bytes: number): boolean {
    const own = (this.#byKey.get(key) ?? 0) + bytes;
    this.#byKey.set(key, own);
    this.#bytes += bytes;
    return own <= this.#perKeyMax && this.#bytes <= this.#max;
  }

  release(key: string, bytes: number): void {
    const own = (this.#byKey.get(key) ?? 0) - bytes;
    if (own > 0) this.#byKey.set(key, own);
    else this.#byKey.delete(key);
    this.#bytes -= bytes;
  }
}

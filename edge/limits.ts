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

/** Lets a steady rate through, and so many at once after a pause. */
export class TokenBucket {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #atMs: number;

  constructor(perSecond: number, burst: number, nowMs: number) {
    this.#perMs = perSecond / 1_000;
    this.#burst = burst;
    this.#tokens = burst;
    this.#atMs = nowMs;
  }

  /** Takes so many, or none. @param nowMs of a clock that doesn't go back. */
  take(nowMs: number, count = 1): boolean {
    this.#refill(nowMs);
    if (this.#tokens < count) return false;
    this.#tokens -= count;
    return true;
  }

  /** Takes so many in any case: what has come has come. @returns whether there were as many. */
  spend(nowMs: number, count: number): boolean {
    this.#refill(nowMs);
    this.#tokens -= count;
    return this.#tokens >= 0;
  }

  /** Whether it is as if nothing had ever been taken. */
  isFull(nowMs: number): boolean {
    this.#refill(nowMs);
    return this.#tokens >= this.#burst;
  }

  #refill(nowMs: number): void {
    const passedMs = Math.max(0, nowMs - this.#atMs);
    this.#tokens = Math.min(this.#burst, this.#tokens + passedMs * this.#perMs);
    this.#atMs = nowMs;
  }
}

/** More keys than that are looked through for buckets that are full again. */
const PRUNED_ABOVE = 10_000;

/** A bucket for each key, such as an address: made on first use, forgotten when it is full. */
export class KeyedBuckets {
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #buckets = new Map<string, TokenBucket>();
  #prunedAtMs = 0;

  constructor(perSecond: number, burst: number) {
    this.#perSecond = perSecond;
    this.#burst = burst;
  }

  take(key: string, nowMs: number, count = 1): boolean {
    return this.#bucket(key, nowMs).take(nowMs, count);
  }

  /** As a bucket's. */
  spend(key: string, nowMs: number, count: number): boolean {
    return this.#bucket(key, nowMs).spend(nowMs, count);
  }

  #bucket(key: string, nowMs: number): TokenBucket {
    let bucket = this.#buckets.get(key);
    if (!bucket) {
      this.#prune(nowMs);
      bucket = new TokenBucket(this.#perSecond, this.#burst, nowMs);
      this.#buckets.set(key, bucket);
    }
    return bucket;
  }

  get size(): number {
    return this.#buckets.size;
  }

  #prune(nowMs: number): void {
    // Looking through all of them for each new one would be an attack by itself.
    if (this.#buckets.size < PRUNED_ABOVE || nowMs < this.#prunedAtMs + 1_000) return;
    this.#prunedAtMs = nowMs;
    for (const [key, bucket] of this.#buckets) if (bucket.isFull(nowMs)) this.#buckets.delete(key);
  }
}

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

/**
 * What counts as one address: an IPv4 address, also in IPv6's clothes, or the /64 network that
 * whoever has an IPv6 address has all of.
 */
export function addressKey(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (mapped?.[1]) return mapped[1];
  if (!address.includes(':')) return address;
  const [head = '', tail] = address.replace(/%.*$/, '').toLowerCase().split('::');
  const groups = head.split(':').filter(Boolean);
  const last = tail === undefined ? [] : tail.split(':').filter(Boolean);
  while (groups.length + last.length < 8) groups.push('0');
  const network = [...groups, ...last].slice(0, 4).map((group) => Number.parseInt(group, 16));
  return `${network.map((group) => group.toString(16)).join(':')}::/64`;
}

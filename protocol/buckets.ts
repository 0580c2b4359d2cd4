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

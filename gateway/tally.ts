/** How much of something each key has now, such as an address; what has none is forgotten. */
export class Tally {
  readonly #counts = new Map<string, number>();

  of(key: string): number {
    return this.#counts.get(key) ?? 0;
  }

  /** @param count negative for what is over. @returns how much it has then. */
  add(key: string, count: number): number {
    const sum = this.of(key) + count;
    if (sum === 0) this.#counts.delete(key);
    else this.#counts.set(key, sum);
    return sum;
  }

  /** Keys that have some. */
  get size(): number {
    return this.#counts.size;
  }
}

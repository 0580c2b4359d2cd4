import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** Random numbers that a seed determines. */
export class Random {
  readonly #generator: ReturnType<typeof xoroshiro128plus>;

  constructor(seed: number) {
    this.#generator = xoroshiro128plus(seed);
  }

  /** @returns a number from `min`, to below `max`. */
  between(min: number, max: number): number {
    return min + (max - min) * uniformFloat64(this.#generator);
  }

  chance(probability: number): boolean {
    return this.between(0, 1) < probability;
  }

  /** Of mean 1. */
  exponential(): number {
    return -Math.log(1 - this.between(0, 1));
  }

  /** Of median 1; `sigma` is the standard deviation of its logarithm. */
  logNormal(sigma: number): number {
    const radius = Math.sqrt(2 * this.exponential());
    return Math.exp(sigma * radius * Math.cos(this.between(0, 2 * Math.PI)));
  }

  /** @returns one of the keys, each with the probability that is its share of all weights. */
  pick<Key>(weights: readonly (readonly [Key, number])[]): Key {
    let left = this.between(
      0,
      weights.reduce((sum, [, weight]) => sum + weight, 0),
    );
    for (const [key, weight] of weights) {
      left -= weight;
      if (left < 0) return key;
    }
    const last = weights.at(-1);
    if (last === undefined) throw new RangeError('nothing to pick from');
    return last[0];
  }
}

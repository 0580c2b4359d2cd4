import { failedFilter } from '../../protocol/schedule.ts';
import type { SimNode, SimUnit } from './model.ts';
import { BTree } from './sorted.ts';

/** What the units are sorted by; equal ones are by their index. */
const ORDERS = {
  placeMs: (a: SimUnit, b: SimUnit) => a.placeMs - b.placeMs || a.index - b.index,
  acceptedAtMs: (a: SimUnit, b: SimUnit) => a.acceptedAtMs - b.acceptedAtMs || a.index - b.index,
} as const;
type Order = keyof typeof ORDERS;
type Sorted = BTree<SimUnit, undefined>;
/** More than rounding can make of a division. */
const ROUNDING = 1.000_001;

/**
 * Waiting units, such that the first in some order that fits a node is found without looking at
 * all: sorted sets by model, tier, and octave of the throughput that a unit needs. A node fits all
 * units of the octaves below its own, and some of its own.
 */
export class WaitingUnits {
  readonly #order: Order;
  /** By model, tier and octave. */
  readonly #sets = new Map<string, (Sorted | undefined)[][]>();
  #size = 0;

  constructor(order: Order) {
    this.#order = order;
  }

  get size(): number {
    return this.#size;
  }

  add(unit: SimUnit): void {
    if (this.#set(unit).set(unit, undefined)) this.#size += 1;
  }

  delete(unit: SimUnit): void {
    if (this.#set(unit).delete(unit)) this.#size -= 1;
  }

  /** @returns the first unit that the node could take now, or null. */
  first(node: SimNode): SimUnit | null {
    const compare = ORDERS[this.#order];
    let best: SimUnit | null = null;
    this.#eachSetFor(node, (set) => {
      let unit = set.minKey();
      while (unit !== undefined && (best === null || compare(unit, best) < 0)) {
        if (fits(node, unit)) best = unit;
        else unit = set.nextHigherKey(unit);
      }
    });
    return best;
  }

  /** All units that the node could take now and that come before `limit`, in no order. */
  allBefore(node: SimNode, limit: number): SimUnit[] {
    const found: SimUnit[] = [];
    this.#eachSetFor(node, (set) => {
      for (const unit of set.keys()) {
        if (unit[this.#order] >= limit) break;
        if (fits(node, unit)) found.push(unit);
      }
    });
    return found;
  }

  // Calls back, since a generator here took a third of the simulation's time.
  #eachSetFor(node: SimNode, look: (set: Sorted) => void): void {
    const tiers = this.#sets.get(node.modelDigest) ?? [];
    const highest = octave(node.throughputPerSecond * ROUNDING);
    for (let tier = 0; tier <= node.tier; tier += 1) {
      const octaves = tiers[tier] ?? [];
      for (let index = 0; index <= highest && index < octaves.length; index += 1) {
        const set = octaves[index];
        if (set !== undefined && set.size > 0) look(set);
      }
    }
  }

  #set(unit: SimUnit): Sorted {
    const tiers = upsert(this.#sets, unit.modelDigest);
    const octaves = (tiers[unit.hardwareTier] ??= []);
    const index = octave(unit.complexity / unit.deadlineSeconds);
    return (octaves[index] ??= new BTree<SimUnit, undefined>(undefined, ORDERS[this.#order]));
  }
}

/** All that a throughput below 2 per second is enough for is one octave. */
function octave(throughputPerSecond: number): number {
  return Math.max(0, Math.floor(Math.log2(throughputPerSecond)));
}

function upsert(
  sets: Map<string, (Sorted | undefined)[][]>,
  model: string,
): (Sorted | undefined)[][] {
  const found = sets.get(model) ?? [];
  sets.set(model, found);
  return found;
}

function fits(node: SimNode, unit: SimUnit): boolean {
  return failedFilter(node, unit, unit.usedNodes, unit.deadlineSeconds) === null;
}

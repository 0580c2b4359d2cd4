import { HARDWARE_TIER_MAX } from '../../protocol/receive.ts';
import { bySize, estimateSeconds } from '../../protocol/schedule.ts';
import type { SimNode, SimUnit } from './model.ts';
import { BTree } from './sorted.ts';

/** The nodes of one model in best-fit order, and which of them have a free slot. */
interface ModelNodes {
  /** By tier: position of its first node; one more entry, so that each tier has an end. */
  readonly tierStarts: readonly number[];
  readonly nodes: readonly SimNode[];
  readonly free: BTree<number, SimNode>;
}

/** Finds the smallest free nodes for a unit, as the index of the table `node` does. */
export class Pool {
  readonly #byModel = new Map<string, ModelNodes>();
  /** Positions among the nodes of their model. */
  readonly #positions = new Map<SimNode, number>();

  constructor(nodes: readonly SimNode[]) {
    for (const model of new Set(nodes.map(({ modelDigest }) => modelDigest))) {
      const ofModel = nodes.filter((node) => node.modelDigest === model).toSorted(bySize);
      for (const [position, node] of ofModel.entries()) this.#positions.set(node, position);
      const tierStarts = Array.from({ length: HARDWARE_TIER_MAX + 2 }, (_, tier) => {
        const start = ofModel.findIndex((node) => node.tier >= tier);
        return start < 0 ? ofModel.length : start;
      });
      const free = new BTree<number, SimNode>([...ofModel.entries()]);
      this.#byModel.set(model, { tierStarts, nodes: ofModel, free });
    }
  }

  /** To be called whenever a slot of the node was taken or came back. */
  update(node: SimNode): void {
    const ofModel = this.#byModel.get(node.modelDigest);
    const position = this.#positions.get(node);
    if (ofModel === undefined || position === undefined)
      throw new RangeError(`${node.nodeId} is not in the pool`);
    if (node.freeSlots > 0) ofModel.free.set(position, node);
    else ofModel.free.delete(position);
  }

  /** @returns free nodes that qualify and may be had, smallest first, `count` at most. */
  smallest(unit: SimUnit, count: number, mayHave: (node: SimNode) => boolean): SimNode[] {
    const found: SimNode[] = [];
    const ofModel = this.#byModel.get(unit.modelDigest);
    if (ofModel === undefined) return found;
    for (let tier = unit.hardwareTier; tier <= HARDWARE_TIER_MAX; tier += 1) {
      const end = ofModel.tierStarts[tier + 1] ?? 0;
      const first = firstFastEnough(ofModel.nodes, unit, ofModel.tierStarts[tier] ?? 0, end);
      if (first === end) continue;
      for (const [position, node] of ofModel.free.entries(first)) {
        if (position >= end) break;
        if (unit.usedNodes.includes(node.nodeId) || !mayHave(node)) continue;
        found.push(node);
        if (found.length === count) return found;
      }
    }
    return found;
  }
}

/** Within a tier the nodes are sorted by throughput. @returns `end` when none is fast enough. */
function firstFastEnough(
  nodes: readonly SimNode[],
  unit: SimUnit,
  start: number,
  end: number,
): number {
  let [low, high] = [start, end];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const node = nodes[middle];
    if (node !== undefined && estimateSeconds(node, unit) <= unit.deadlineSeconds) high = middle;
    else low = middle + 1;
  }
  return low;
}

import type { Scheduler, SimNode, SimUnit } from '../../../bench/sim/model.ts';
import { chooseNode, failedFilter } from '../../../protocol/schedule.ts';

/**
 * The words of design §6 without any index: each decision looks at all nodes, and at all that wait.
 */
export class ReferenceScheduler implements Scheduler {
  readonly #nodes: readonly SimNode[];
  readonly #waiting = new Set<SimUnit>();

  constructor(nodes: readonly SimNode[]) {
    this.#nodes = nodes;
  }

  /** A node that suits a unit which waits and comes first is left to that one. */
  choose(unit: SimUnit): SimNode | null {
    const fitting = this.#nodes.filter((node) => fits(node, unit));
    const left = fitting.filter((node) => !this.#isClaimed(node, unit));
    const chosen = chooseNode(left, unit, unit.usedNodes, unit.deadlineSeconds);
    return this.#nodes.find((node) => node === chosen) ?? null;
  }

  #isClaimed(node: SimNode, unit: SimUnit): boolean {
    return [...this.#waiting].some(
      (other) =>
        (other.placeMs < unit.placeMs ||
          (other.placeMs === unit.placeMs && other.index < unit.index)) &&
        fits(node, other),
    );
  }

  hold(unit: SimUnit): void {
    this.#waiting.add(unit);
  }

  drop(unit: SimUnit): void {
    this.#waiting.delete(unit);
  }

  taken(): void {}

  released(): void {}

  match(assign: (unit: SimUnit, node: SimNode) => void): void {
    const inOrder = [...this.#waiting].toSorted(
      (a, b) => a.placeMs - b.placeMs || a.index - b.index,
    );
    for (const unit of inOrder) {
      const node = this.choose(unit);
      if (!node) continue;
      this.#waiting.delete(unit);
      assign(unit, node);
    }
  }
}

function fits(node: SimNode, unit: SimUnit): boolean {
  return failedFilter(node, unit, unit.usedNodes, unit.deadlineSeconds) === null;
}

import TinyQueue from 'tinyqueue';
import { CANDIDATES_MAX, chooseNode } from '../../protocol/schedule.ts';
import type { Scheduler, SimNode, SimUnit } from './model.ts';
import { Pool } from './pool.ts';
import { WaitingUnits } from './waiting.ts';

/** A free node, and the first waiting unit that fitted it when it was looked at. */
interface Head {
  readonly node: SimNode;
  readonly unit: SimUnit;
}

/**
 * Decides as `activities/schedule.ts` and `intake/match.ts` do, with the same pure functions;
 * sorted sets in memory stand for the indexes of PostgreSQL.
 */
export class IndexedScheduler implements Scheduler {
  readonly #pool: Pool;
  readonly #waiting = new WaitingUnits('placeMs');
  /**
   * Free nodes that a waiting unit may fit: those of which a slot came back after the last round.
   * All others fit none, since a unit only waits when it fits none.
   */
  readonly #freed = new Set<SimNode>();

  constructor(nodes: readonly SimNode[]) {
    this.#pool = new Pool(nodes);
  }

  choose(unit: SimUnit): SimNode | null {
    return this.#smallest(unit, (node) => {
      if (!this.#freed.has(node)) return true;
      const first = this.#waiting.first(node);
      return first === null || compare(unit, first) <= 0;
    });
  }

  hold(unit: SimUnit): void {
    this.#waiting.add(unit);
  }

  drop(unit: SimUnit): void {
    this.#waiting.delete(unit);
  }

  taken(node: SimNode): void {
    this.#pool.update(node);
  }

  released(node: SimNode): void {
    this.#pool.update(node);
    if (this.#waiting.size > 0) this.#freed.add(node);
  }

  /**
   * The unit that comes first of all that fit a free node gets the smallest that it fits, over and
   * over. A head may have become out of date, but only ever comes too early, never too late.
   */
  match(assign: (unit: SimUnit, node: SimNode) => void): void {
    const heads = new TinyQueue<Head>([], (a, b) => compare(a.unit, b.unit));
    const look = (node: SimNode) => {
      const unit = node.freeSlots > 0 ? this.#waiting.first(node) : null;
      if (unit) heads.push({ node, unit });
    };
    for (const node of this.#freed) look(node);
    for (let head = heads.pop(); head; head = heads.pop()) {
      const { node, unit } = head;
      if (unit.isWaiting && node.freeSlots > 0) {
        // Nothing that comes first fits a free node, so there is nothing to leave to others.
        const chosen = this.#smallest(unit, () => true);
        if (chosen === null) throw new Error(`unit ${unit.index} fits a free node, yet gets none`);
        this.#waiting.delete(unit);
        assign(unit, chosen);
      }
      look(node);
    }
    this.#freed.clear();
  }

  #smallest(unit: SimUnit, mayHave: (node: SimNode) => boolean): SimNode | null {
    const candidates = this.#pool.smallest(unit, CANDIDATES_MAX, mayHave);
    const chosen = chooseNode(candidates, unit, unit.usedNodes, unit.deadlineSeconds);
    return candidates.find((node) => node === chosen) ?? null;
  }
}

/** The waiting order. */
function compare(a: SimUnit, b: SimUnit): number {
  return a.placeMs - b.placeMs || a.index - b.index;
}

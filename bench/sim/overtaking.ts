import { OVERTAKE_SECONDS_MAX } from '../../protocol/schedule.ts';
import type { Observer, SimNode, SimUnit } from './model.ts';
import { WaitingUnits } from './waiting.ts';

/**
 * Holds every assignment against the promise that nothing starves: no unit that waits and fits the
 * node is passed by one accepted more than `OVERTAKE_SECONDS_MAX` later. It looks at ages alone and
 * knows nothing of the waiting order, so that a wrong order can't hide itself.
 */
export class Overtaking implements Observer {
  readonly #byAge = new WaitingUnits('acceptedAtMs');
  readonly #starved = new Set<number>();
  #largestMs = 0;

  /** Units that were passed against the promise. */
  get starved(): number {
    return this.#starved.size;
  }

  /** By how much later a unit was accepted than one which it passed, at most. */
  get largestSeconds(): number {
    return this.#largestMs / 1_000;
  }

  onHeld(unit: SimUnit): void {
    this.#byAge.add(unit);
  }

  onLeft(unit: SimUnit): void {
    this.#byAge.delete(unit);
  }

  onAssigned(unit: SimUnit, node: SimNode): void {
    const oldest = this.#byAge.first(node);
    if (oldest === null) return;
    this.#largestMs = Math.max(this.#largestMs, unit.acceptedAtMs - oldest.acceptedAtMs);
    const limitMs = unit.acceptedAtMs - OVERTAKE_SECONDS_MAX * 1_000;
    if (oldest.acceptedAtMs >= limitMs) return;
    for (const passed of this.#byAge.allBefore(node, limitMs)) this.#starved.add(passed.index);
  }
}

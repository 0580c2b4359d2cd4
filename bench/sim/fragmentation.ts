import { HARDWARE_TIER_MAX } from '../../protocol/receive.ts';
import type { Observer, SimNode, SimUnit } from './model.ts';

/** Of one model. */
interface Held {
  /** Slots, by the smallest tier that could serve the unit which holds it, and by their own. */
  readonly slots: number[][];
  /** Waiting units, by the smallest tier that could serve them. */
  readonly waiting: number[];
  changedAtMs: number;
}

/**
 * What best fit is there to keep low: capacity of large nodes spent on what smaller ones could do.
 */
export class Fragmentation implements Observer {
  readonly #byModel = new Map<string, Held>();
  #assignments = 0;
  #onLargerTier = 0;
  #busySlotMs = 0;
  #blockingSlotMs = 0;

  /** Share of assignments to a larger tier than the smallest that could have served the unit. */
  get largerTierShare(): number {
    return this.#assignments === 0 ? 0 : this.#onLargerTier / this.#assignments;
  }

  /**
   * Share of the time of busy slots during which a slot is held by a unit that a smaller tier could
   * serve while one waits for which that tier is too small, and this one isn't.
   */
  get blockingShare(): number {
    return this.#busySlotMs === 0 ? 0 : this.#blockingSlotMs / this.#busySlotMs;
  }

  onHeld(unit: SimUnit, atMs: number): void {
    this.#wait(unit, 1, atMs);
  }

  onLeft(unit: SimUnit, atMs: number): void {
    this.#wait(unit, -1, atMs);
  }

  onAssigned(unit: SimUnit, node: SimNode, atMs: number): void {
    this.#assignments += 1;
    if (node.tier > unit.smallestTier) this.#onLargerTier += 1;
    this.#hold(unit, node, 1, atMs);
  }

  onReleased(unit: SimUnit, node: SimNode, atMs: number): void {
    this.#hold(unit, node, -1, atMs);
  }

  #wait(unit: SimUnit, change: number, atMs: number): void {
    const { waiting } = this.#accountedUntil(atMs, unit.modelDigest);
    const tier = unit.smallestTier;
    if (tier <= HARDWARE_TIER_MAX) waiting[tier] = (waiting[tier] ?? 0) + change;
  }

  #hold(unit: SimUnit, node: SimNode, change: number, atMs: number): void {
    const { slots } = this.#accountedUntil(atMs, unit.modelDigest);
    const row = (slots[unit.smallestTier] ??= []);
    row[node.tier] = (row[node.tier] ?? 0) + change;
  }

  #accountedUntil(atMs: number, model: string): Held {
    const held = this.#byModel.get(model) ?? { slots: [], waiting: [], changedAtMs: atMs };
    this.#byModel.set(model, held);
    const lastedMs = atMs - held.changedAtMs;
    held.changedAtMs = atMs;
    if (lastedMs === 0) return held;
    for (let needed = 1; needed <= HARDWARE_TIER_MAX; needed += 1) {
      let isMissed = false;
      for (let tier = needed; tier <= HARDWARE_TIER_MAX; tier += 1) {
        if (tier > needed && (held.waiting[tier] ?? 0) > 0) isMissed = true;
        const slotMs = (held.slots[needed]?.[tier] ?? 0) * lastedMs;
        this.#busySlotMs += slotMs;
        if (isMissed) this.#blockingSlotMs += slotMs;
      }
    }
    return held;
  }
}

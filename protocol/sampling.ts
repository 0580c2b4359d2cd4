import { z } from 'zod';
import { isWorkloadClass, WORKLOAD_CLASSES } from './workload.ts';

/** Rates are parts per million: whole numbers, so that a comparison is exact. */
export const PPM = 1_000_000;
/** No class is ever sampled less (design §7): it bounds what one who turns bad can do unseen. */
export const FLOOR_PPM = 20_000;
/** A new node has all its work checked until so many units of it were compared. */
export const PROBATION_UNITS = 20;

/** A secret is published once so many epochs have begun after its own (design §7). */
export const REVEALED_EPOCHS_LATER = 2;

/** How often units are checked. It is published, by its hash, before the epoch that it is for. */
export interface SamplingPolicy {
  readonly v: 1;
  /** Of each workload class, in parts per million. */
  readonly ratesPpm: Readonly<Record<string, number>>;
  /** No rate is below it. */
  readonly floorPpm: number;
  /** Checked units until which a node's work is all checked. */
  readonly probationUnits: number;
}

const ppm = z.int().min(0).max(PPM);
const policySchema = z.strictObject({
  v: z.literal(1),
  ratesPpm: z.record(z.string(), ppm),
  floorPpm: ppm,
  probationUnits: z.int().min(0).max(1_000_000),
});

/**
 * The network's policy.
 *
 * @param rates shares of units, from 0 to 1, by workload class; for classes that aren't named their
 *   own (`WORKLOAD_CLASSES`).
 * @throws RangeError for an unknown class, or a rate below `FLOOR_PPM` or above 1.
 */
export function samplingPolicy(rates: Readonly<Record<string, number>> = {}): SamplingPolicy {
  const unknown = Object.keys(rates).find((name) => !isWorkloadClass(name));
  if (unknown !== undefined) throw new RangeError(`${unknown} is no workload class`);
  const entries = Object.entries(WORKLOAD_CLASSES).map(([name, { samplingRate }]) => {
    const rate = rates[name] ?? samplingRate;
    const ratePpm = Math.round(rate * PPM);
    if (!(ratePpm >= FLOOR_PPM && ratePpm <= PPM))
      throw new RangeError(`the rate of ${name} must be from ${FLOOR_PPM / PPM} to 1`);
    return [name, ratePpm] as const;
  });
  const ratesPpm = Object.fromEntries(entries);
  return { v: 1, ratesPpm, floorPpm: FLOOR_PPM, probationUnits: PROBATION_UNITS };
}

/** Reads a published policy. Throws `ZodError` or `SyntaxError`. */
export function parsePolicy(text: string): SamplingPolicy {
  return policySchema.parse(JSON.parse(text));
}

/**
 * The share of a node's units of one class that is checked, in parts per million.
 *
 * @param checkedUnits of this class and node that were compared so far.
 */
export function ratePpm(
  policy: SamplingPolicy,
  workloadClass: string,
  checkedUnits: number,
): number {
  return checkedUnits < policy.probationUnits ? PPM : seasonedRatePpm(policy, workloadClass);
}

/** `ratePpm` after probation. */
export function seasonedRatePpm(policy: SamplingPolicy, workloadClass: string): number {
  return Math.max(policy.ratesPpm[workloadClass] ?? 0, policy.floorPpm);
}

/**
 * Where a draw of 256 bits lies, in parts per million, rounded down. A unit is checked if that is
 * below its rate, which is the same as draw < rate · 2²⁵⁶ for a rate of whole parts per million.
 *
 * @param draw 64 hex digits.
 */
export function drawPpm(draw: string): number {
  return Number((BigInt(`0x${draw}`) * BigInt(PPM)) >> 256n);
}

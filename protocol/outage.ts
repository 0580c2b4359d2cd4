/**
 * The network's pulse is written down each second, while both of its servers answer. Without one
 * for longer than this it is an outage. A node that beats every 2 s through a gap that is no
 * outage is silent for less than `ONLINE_SECONDS`, so no gap at all costs a node its uptime.
 */
export const OUTAGE_SECONDS = 5;

/** A time, in milliseconds since the epoch by the database's clock; both ends belong to it. */
export interface Interval {
  readonly fromMs: number;
  readonly toMs: number;
}

/** What is known of outages at one moment. */
export interface OutageRecord {
  /** Those that are over. */
  readonly outages: readonly Interval[];
  /** The latest pulse; null when there never was one, and so nothing to be missing. */
  readonly beatAtMs: number | null;
  readonly nowMs: number;
}

/** The outage that hasn't ended yet, if there is one: it began with the latest pulse. */
export function openOutage({ beatAtMs, nowMs }: OutageRecord): Interval | null {
  if (beatAtMs === null || !isOutage(beatAtMs, nowMs)) return null;
  return { fromMs: beatAtMs, toMs: nowMs };
}

/** Whether the time between two pulses that follow each other was an outage. */
export function isOutage(fromMs: number, toMs: number): boolean {
  return toMs - fromMs > OUTAGE_SECONDS * 1_000;
}

/**
 * Whether the network couldn't do its work at any moment of a time: nothing that happened in such a
 * time counts against a node, since who was at fault can't be told.
 */
export function isExcused(time: Interval, record: OutageRecord): boolean {
  const open = openOutage(record);
  const outages = open ? [...record.outages, open] : record.outages;
  return outages.some(({ fromMs, toMs }) => fromMs <= time.toMs && time.fromMs <= toMs);
}

import { drawOf, policyHash, secretHash } from '../crypto/sampling.ts';
import { isUnitId } from '../protocol/ids.ts';
import {
  drawPpm,
  parsePolicy,
  PPM,
  REVEALED_EPOCHS_LATER,
  seasonedRatePpm,
  type SamplingPolicy,
} from '../protocol/sampling.ts';
import type { DrawView, EpochView } from './views.ts';

const FIRST_EPOCH = 1;
const HEX_32_BYTES = /^[0-9a-f]{64}$/;
/** Stored times are rounded to milliseconds. */
const ROUNDING_MS = 1;
/** A share so unlikely isn't chance. */
const CHANCE_MIN = 1e-9;

/** What is wrong with epochs as they were published: a sentence each. */
export function auditEpochs(epochs: readonly EpochView[], nowMs: number): string[] {
  const byNumber = new Map(epochs.map((epoch) => [epoch.epoch, epoch]));
  const last = epochs.reduce((highest, { epoch }) => Math.max(highest, epoch), 0);
  const numbers = Array.from({ length: last }, (_, index) => FIRST_EPOCH + index);
  const missing = numbers.filter((number) => !byNumber.has(number));
  return [
    ...missing.map((number) => `epoch ${number} is missing`),
    ...epochs.flatMap((epoch) =>
      epochFaults(epoch, byNumber, nowMs).map((fault) => `epoch ${epoch.epoch}: ${fault}`),
    ),
  ];
}

function epochFaults(
  epoch: EpochView,
  byNumber: ReadonlyMap<number, EpochView>,
  nowMs: number,
): string[] {
  const faults: string[] = [];
  const { epoch: number, policy, secret, revealed_at: revealedAt } = epoch;
  if (policyHash(policy) !== epoch.policy_hash) faults.push("the policy doesn't match its hash");
  if (!policyOf(epoch)) faults.push('the policy can not be read');
  if (number > FIRST_EPOCH && Date.parse(epoch.published_at) >= Date.parse(epoch.begins_at))
    faults.push('it was published when it had begun, not before');
  if (secret !== null && (!HEX_32_BYTES.test(secret) || secretHash(secret) !== epoch.secret_hash))
    faults.push("the secret doesn't match the hash that was published");
  const due = byNumber.get(number + REVEALED_EPOCHS_LATER);
  if (revealedAt !== null && !(due && Date.parse(revealedAt) >= Date.parse(due.begins_at)))
    faults.push(`the secret was published before epoch ${number + REVEALED_EPOCHS_LATER} began`);
  const overdue = byNumber.get(number + REVEALED_EPOCHS_LATER + 1);
  if (secret === null && overdue && Date.parse(overdue.begins_at) < nowMs)
    faults.push('the secret should be published by now');
  return faults;
}

/** From when to when an epoch was the present one, in milliseconds since 1970. */
type Period = readonly [number, number];

/** By their numbers: an epoch lasts until one with a higher number begins. */
export function periodsOf(epochs: readonly EpochView[]): ReadonlyMap<number, Period> {
  const periods = new Map<number, Period>();
  let untilMs = Infinity;
  for (const { epoch, begins_at: at } of epochs.toSorted((a, b) => b.epoch - a.epoch)) {
    const fromMs = Date.parse(at);
    periods.set(epoch, [fromMs, untilMs]);
    untilMs = Math.min(untilMs, fromMs);
  }
  return periods;
}

/** Undefined for a text that is no policy. */
export function policyOf({ policy }: EpochView): SamplingPolicy | undefined {
  try {
    return parsePolicy(policy);
  } catch {
    return undefined;
  }
}

/** What draws are held against. */
export interface Committed {
  readonly secret: string;
  readonly policy: SamplingPolicy | undefined;
  readonly period: Period;
}

/** What is wrong with one draw: a sentence each. */
export function auditDraw(draw: DrawView, { secret, policy, period }: Committed): string[] {
  const { unit_id: unitId, poe, rate_ppm: ratePpm, is_sampled: isSampled } = draw;
  if (!isUnitId(unitId) || ![poe, draw.draw].every((text) => HEX_32_BYTES.test(text)))
    return ['it is malformed'];
  const faults: string[] = [];
  if (drawOf(secret, unitId, poe) !== draw.draw)
    faults.push('another draw follows from its secret');
  if (drawPpm(draw.draw) < ratePpm !== isSampled)
    faults.push(`it was ${isSampled ? '' : 'not '}sampled, against its draw and rate`);
  if (policy && !ratesAllowed(policy, draw.workload_class).includes(ratePpm))
    faults.push(`a rate of ${ratePpm} ppm is none that the policy allows`);
  const storedMs = Date.parse(draw.stored_at);
  if (!(storedMs >= period[0] - ROUNDING_MS && storedMs < period[1] + ROUNDING_MS))
    faults.push('its proof was stored in another epoch');
  // Others may end first: cancelled, or failed by what has nothing to do with the check.
  if (isSampled && draw.outcome === null && draw.request_status === 'completed')
    faults.push('it was sampled, and its request completed without a check');
  if (!isSampled && draw.outcome !== null) faults.push('it was checked without being drawn');
  return faults;
}

/** All work of a new node is checked, and then the share of its class. */
function ratesAllowed(policy: SamplingPolicy, workloadClass: string): number[] {
  const seasoned = seasonedRatePpm(policy, workloadClass);
  return policy.probationUnits > 0 ? [PPM, seasoned] : [seasoned];
}

/** Draws as far as they were counted. */
export class Tally {
  draws = 0;
  sampled = 0;
  /** By the rates of the draws. */
  expected = 0;
  variance = 0;
  readonly outcomes: Record<string, number> = {};

  add({ rate_ppm: ratePpm, is_sampled: isSampled, outcome }: DrawView): void {
    const rate = ratePpm / PPM;
    this.draws += 1;
    this.expected += rate;
    this.variance += rate * (1 - rate);
    if (!isSampled) return;
    this.sampled += 1;
    const name = outcome ?? 'without outcome';
    this.outcomes[name] = (this.outcomes[name] ?? 0) + 1;
  }

  /**
   * Whether so many or so few were drawn as chance doesn't bring about: then draws were left out,
   * perhaps. By Bernstein's inequality, which holds for any rates and any number of draws.
   */
  isUnlikely(): boolean {
    const deviation = Math.abs(this.sampled - this.expected);
    if (deviation < 1e-6) return false;
    const exponent = deviation ** 2 / (2 * (this.variance + deviation / 3));
    return 2 * Math.exp(-exponent) < CHANCE_MIN;
  }
}

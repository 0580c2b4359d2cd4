import { formatNodeId } from '../../protocol/ids.ts';
import {
  DEADLINE_SECONDS_DEFAULT,
  HARDWARE_TIER_MAX,
  type Priority,
} from '../../protocol/receive.ts';
import { estimateSeconds, waitingPlaceMs, type Queued } from '../../protocol/schedule.ts';
import type { SimNode, SimUnit } from './model.ts';
import { Random } from './random.ts';

export interface WorkloadOptions {
  readonly nodes: number;
  readonly units: number;
  /** Work that comes by work that the pool can do, over the whole time. */
  readonly load: number;
  readonly seed: number;
  /** The place in the waiting order. */
  readonly place?: (unit: Queued) => number;
}

type Weights<Key> = readonly (readonly [Key, number])[];

const MODELS: Weights<string> = [
  ['sha256:a', 50],
  ['sha256:b', 30],
  ['sha256:c', 15],
  ['sha256:d', 5],
];
/** As pools of strangers are: many small nodes, few large ones. */
const TIERS: Weights<number> = [
  [1, 35],
  [2, 30],
  [3, 20],
  [4, 10],
  [5, 5],
];
const SLOTS_BY_TIER = [0, 1, 2, 3, 4, 8];
/** Median tokens per second and slot of tier 1; each tier has `TIER_FACTOR` of the last. */
const TIER_1_THROUGHPUT = 20;
const TIER_FACTOR = 1.8;
const PRIORITIES: Weights<Priority> = [
  ['urgent', 10],
  ['expedited', 20],
  ['standard', 70],
];
const DEADLINES_SECONDS: Weights<number> = [
  [DEADLINE_SECONDS_DEFAULT, 70],
  [30, 15],
  [600, 15],
];
/** Units that would be content with a lower tier than that of the capacity they stand for. */
const MODEST_SHARE = 0.3;
const COMPLEXITY_MEDIAN = 1_000;
const COMPLEXITY = { min: 16, max: 32_768 } as const;
/** What of the upper bound is used: output may be shorter than its maximum. */
const USED_SHARE = { min: 0.3, max: 1 } as const;
/** Tokens that a unit takes in the mean, with the log-normal distribution of `complexityOf`. */
const RUN_TOKENS_MEAN = COMPLEXITY_MEDIAN * Math.exp(0.5) * ((USED_SHARE.min + USED_SHARE.max) / 2);

/** Calm, overload, calm: a queue forms and drains. */
const CYCLE_SECONDS = 240;
const BURST_SECONDS = { from: 80, to: 160 } as const;
const BURST_FACTOR = 1.5;
const CALM_FACTOR = 0.75;

/** The pool of a seed. */
export function makeNodes({ nodes: count, seed }: WorkloadOptions): SimNode[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => {
    const tier = random.pick(TIERS);
    const slots = SLOTS_BY_TIER[tier] ?? 1;
    return {
      nodeId: formatNodeId(Uint8Array.from({ length: 32 }, () => random.between(0, 256))),
      status: 'active',
      tier,
      features: [],
      workloadClasses: ['ai.inference'],
      modelDigest: random.pick(MODELS),
      online: true,
      ready: true,
      throughputPerSecond: TIER_1_THROUGHPUT * TIER_FACTOR ** (tier - 1) * random.logNormal(0.3),
      slots,
      freeSlots: slots,
    } as const;
  });
}

/**
 * The units of a seed, as they come. Which model and tier they ask for follows the pool's capacity,
 * so that none of them is overloaded for good.
 */
export function* makeUnits(
  options: WorkloadOptions,
  nodes: readonly SimNode[],
): Generator<SimUnit> {
  const { units, load, seed, place = waitingPlaceMs } = options;
  const random = new Random(seed + 1);
  const capacities = capacityByKind(nodes);
  const fastest = fastestByTier(nodes);
  const tokensPerSecond = capacities.reduce((sum, [, capacity]) => sum + capacity, 0);
  const unitsPerSecond = (load * tokensPerSecond) / RUN_TOKENS_MEAN;
  let acceptedAtMs = 0;
  for (let index = 0; index < units; index += 1) {
    acceptedAtMs += (random.exponential() * 1_000) / (unitsPerSecond * factorAt(acceptedAtMs));
    const { model: modelDigest, tier } = random.pick(capacities);
    const hardwareTier = random.chance(MODEST_SHARE)
      ? Math.floor(random.between(1, tier + 1))
      : tier;
    const priority = random.pick(PRIORITIES);
    const deadlineSeconds = random.pick(DEADLINES_SECONDS);
    const complexity = complexityOf(random);
    const unit = {
      index,
      workloadClass: 'ai.inference',
      modelDigest,
      hardwareTier,
      complexity,
      priority,
      acceptedAtMs,
      deadlineSeconds,
      placeMs: place({ priority, complexity, turnMs: acceptedAtMs }),
      runTokens: complexity * random.between(USED_SHARE.min, USED_SHARE.max),
      usedNodes: [],
      failures: [],
      isWaiting: false,
    } as const;
    const smallest = fastest
      .get(modelDigest)
      ?.findIndex(
        (node, tier) =>
          tier >= hardwareTier && node && estimateSeconds(node, unit) <= deadlineSeconds,
      );
    const isServed = smallest !== undefined && smallest >= 0;
    yield { ...unit, usedNodes: [], failures: [], smallestTier: isServed ? smallest : Infinity };
  }
}

function factorAt(atMs: number): number {
  const second = (atMs / 1_000) % CYCLE_SECONDS;
  return second >= BURST_SECONDS.from && second < BURST_SECONDS.to ? BURST_FACTOR : CALM_FACTOR;
}

function complexityOf(random: Random): number {
  const drawn = Math.round(COMPLEXITY_MEDIAN * random.logNormal(1));
  return Math.min(COMPLEXITY.max, Math.max(COMPLEXITY.min, drawn));
}

interface Kind {
  readonly model: string;
  readonly tier: number;
}

/** Tokens per second of all slots, by model and tier. */
function capacityByKind(nodes: readonly SimNode[]): [Kind, number][] {
  const kinds = MODELS.flatMap(([model]) => TIERS.map(([tier]) => ({ model, tier })));
  return kinds.map((kind) => {
    const ofKind = nodes.filter((n) => n.modelDigest === kind.model && n.tier === kind.tier);
    return [kind, ofKind.reduce((sum, n) => sum + n.slots * n.throughputPerSecond, 0)];
  });
}

/** For each model, by tier, the fastest node. */
function fastestByTier(nodes: readonly SimNode[]): Map<string, (SimNode | undefined)[]> {
  const byModel = new Map<string, (SimNode | undefined)[]>();
  for (const node of nodes) {
    const tiers = byModel.get(node.modelDigest) ?? Array(HARDWARE_TIER_MAX + 1).fill(undefined);
    const before = tiers[node.tier];
    if (!before || before.throughputPerSecond < node.throughputPerSecond) tiers[node.tier] = node;
    byModel.set(node.modelDigest, tiers);
  }
  return byModel;
}

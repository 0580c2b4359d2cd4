import { setTimeout as sleep } from 'node:timers/promises';
import { cpuSeconds } from '../processes.ts';
import { streamOnce, type Streamed } from './client.ts';
import type { StreamingCluster } from './cluster.ts';
import { HELD_PROMPT } from './held-prompt.ts';
import { memoryOf, type Memory } from './inspector.ts';

/** Those whose memory is told. */
export const HOLDERS = ['gateway', 'coordinator'] as const;
export type Holder = (typeof HOLDERS)[number];

/** Memory while so many streams are open, none of which says anything. */
export interface OpenLevel {
  readonly streams: number;
  readonly memory: Readonly<Record<Holder, Memory>>;
}

/** CPU time by process while so many streams are open, in seconds per second: shares of a core. */
export interface OpenUse {
  readonly streams: number;
  /** Of all streams together, as their callers got them. */
  readonly tokensPerSecond: number;
  readonly cpuShare: Readonly<Record<string, number>>;
}

export interface OpenStreamsCost {
  /** Ascending; what is per stream lies between the first and the last. */
  readonly levels: readonly OpenLevel[];
  /** After all have ended. */
  readonly ended: Readonly<Record<Holder, Memory>>;
  readonly none: OpenUse;
  readonly idle: OpenUse;
  readonly slow: OpenUse;
}

export interface OpenStreamsPlan {
  /** Ascending; the last is how many streams are open in the end. */
  readonly levels: readonly number[];
  readonly secondsPerRun: number;
  /** Before each look, for what streams leave behind when they begin or end. */
  readonly settledSeconds: number;
  /** How fast tokens come in the end, of all streams together. */
  readonly tokensPerSecond: number;
}

/** Streams that are opened at the same time: what that costs isn't told here. */
const OPENING = 8;
const MAX_TOKENS = 512;
/** Several times what all of this takes; then what still waits for a slot fails, and says so. */
const DEADLINE_SECONDS = 1_200;
/**
 * While more are opened, of all together: an edge ends streams that bring nothing for five minutes,
 * and a busy machine may take that long.
 */
const KEPT_TOKENS_PER_SECOND = 10;

/**
 * Opens more and more streams on one gateway, each a request that a node works on, and keeps them
 * open: first they say nothing, then a little, and then they end. Their clients are in this
 * process.
 *
 * @param say gets one line for people per step.
 * @throws Error if one of them isn't a whole answer in the end.
 */
export async function measureOpenStreams(
  cluster: StreamingCluster,
  plan: OpenStreamsPlan,
  say: (line: string) => void,
): Promise<OpenStreamsCost> {
  const { secondsPerRun, tokensPerSecond } = plan;
  const settled = () => sleep(plan.settledSeconds * 1_000);
  const streams = new OpenStreams(cluster);
  // What is made once, such as code and connections, is there before anything is measured.
  await streams.openUntil(OPENING);
  await streams.endAll();
  const none = await use(cluster, streams, secondsPerRun);
  const levels: OpenLevel[] = [];
  for (const level of plan.levels) {
    await tell(cluster, `drip?tokensPerSecond=${KEPT_TOKENS_PER_SECOND}`);
    await streams.openUntil(level);
    await tell(cluster, 'drip?tokensPerSecond=0');
    await settled();
    levels.push({ streams: level, memory: await memories(cluster) });
    say(`${level} streams are open`);
  }
  const idle = await use(cluster, streams, secondsPerRun);
  await tell(cluster, `drip?tokensPerSecond=${tokensPerSecond}`);
  await settled();
  const slow = await use(cluster, streams, secondsPerRun);
  say(`${slow.streams} streams brought ${slow.tokensPerSecond.toFixed(0)} tokens a second`);
  await streams.endAll();
  await settled();
  return { levels, none, idle, slow, ended: await memories(cluster) };
}

/** Streams whose tokens come when the backend is told so. */
class OpenStreams {
  readonly #cluster: StreamingCluster;
  #open: Promise<Streamed>[] = [];
  readonly #failed: Promise<never>;
  #fail: (error: unknown) => void = () => undefined;
  /** Events with text, of all streams so far: the backend sends one for each token. */
  texts = 0;

  constructor(cluster: StreamingCluster) {
    this.#cluster = cluster;
    this.#failed = new Promise((_resolve, reject) => (this.#fail = reject));
    // Whoever waits for something hears of it.
    this.#failed.catch(() => undefined);
  }

  get count(): number {
    return this.#open.length;
  }

  /** @throws Error of the first stream that failed: one lost node would leave this waiting. */
  async openUntil(count: number): Promise<void> {
    const lane = async () => {
      while (this.#open.length < count) await this.#openOne();
    };
    await Promise.race([this.#failed, Promise.all(Array.from({ length: OPENING }, lane))]);
  }

  async endAll(): Promise<void> {
    await tell(this.#cluster, 'end');
    await Promise.all(this.#open);
    this.#open = [];
  }

  async #openOne(): Promise<void> {
    const request = {
      prompt: HELD_PROMPT,
      maxTokens: MAX_TOKENS,
      changed: { deadline_seconds: DEADLINE_SECONDS },
    };
    await new Promise<void>((resolve) => {
      const streamed = streamOnce(this.#cluster, 'network', request, () => {
        this.texts += 1;
        resolve();
      });
      streamed.catch(this.#fail);
      this.#open.push(streamed);
    });
  }
}

async function use(
  { pids }: StreamingCluster,
  streams: OpenStreams,
  seconds: number,
): Promise<OpenUse> {
  const [before, textsBefore] = [await cpuSeconds(pids), streams.texts];
  await sleep(seconds * 1_000);
  const [after, texts] = [await cpuSeconds(pids), streams.texts - textsBefore];
  const shares = Object.entries(after).map(
    ([name, used]) => [name, (used - (before[name] ?? 0)) / seconds] as const,
  );
  return {
    streams: streams.count,
    tokensPerSecond: texts / seconds,
    cpuShare: Object.fromEntries(shares),
  };
}

async function memories({ inspectors }: StreamingCluster): Promise<Record<Holder, Memory>> {
  const [gateway, coordinator] = [
    await memoryOf(inspectors.gateway),
    await memoryOf(inspectors.coordinator),
  ];
  return { gateway, coordinator };
}

async function tell({ backendUrl }: StreamingCluster, what: string): Promise<void> {
  const response = await fetch(`${backendUrl}/bench/${what}`, { method: 'POST' });
  if (!response.ok) throw new Error(`The backend answered ${response.status}`);
  await response.arrayBuffer();
}

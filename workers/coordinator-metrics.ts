import { setTimeout as sleep } from 'node:timers/promises';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { SettleInput, SettleResult } from '../activities/settle.ts';
import type { Relay } from '../intake/relay.ts';
import { poolUse, type Database, type PoolUse } from '../prisma/client.ts';
import { readNumbers, type NetworkNumbers } from '../prisma/metrics.ts';
import { counter, gauge } from './metrics.ts';

/** From a step in memory to the longest deadline that is usual. */
const STEP_SECONDS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600];
/** By then whoever watches is told that the database doesn't answer. */
const NUMBERS_MS_MAX = 2_000;

const NUMBERS: Readonly<Record<keyof NetworkNumbers, readonly [name: string, help: string]>> = {
  waiting: ['waiting_units', 'Units that wait for a node.'],
  oldestSeconds: ['waiting_oldest_seconds', 'How long the unit that came first has waited.'],
  slotsTotal: ['slots', 'Slots of nodes that can get work.'],
  slotsFree: ['slots_free', 'Those of them that are free.'],
  reservations: ['open_reservations', 'Requests whose money is set aside.'],
};

/** What a coordinator counts, and what it knows of the network when somebody looks. */
export class CoordinatorMetrics {
  readonly registry = new Registry();
  readonly #accepted = new Counter({
    name: 'plx_coordinator_requests_accepted_total',
    help: 'Requests that were accepted.',
    registers: [this.registry],
  });
  readonly #ended = new Counter({
    name: 'plx_coordinator_requests_ended_total',
    help: 'Requests that were settled, by final state and failure.',
    labelNames: ['state', 'code'],
    registers: [this.registry],
  });
  readonly #steps = new Histogram({
    name: 'plx_coordinator_step_duration_seconds',
    help: 'Time in each step of requests that were settled.',
    labelNames: ['step'],
    buckets: STEP_SECONDS,
    registers: [this.registry],
  });

  constructor(relay: Relay, database: Database) {
    this.#watchRelay(relay);
    this.#watchDatabase(database);
  }

  accepted(): void {
    this.#accepted.inc();
  }

  /** Step 9 of a request is done. */
  settled({ state, code, timeline }: SettleInput, { elapsedMs }: SettleResult): void {
    this.#ended.inc({ state, code: code ?? 'none' });
    for (const record of timeline)
      if (record.state === 'done' && record.elapsedMs !== undefined && record.step !== 'settle')
        this.#steps.observe({ step: record.step }, record.elapsedMs / 1_000);
    this.#steps.observe({ step: 'settle' }, elapsedMs / 1_000);
  }

  /** The frames that this coordinator passes on. */
  #watchRelay(relay: Relay): void {
    counter(
      this.registry,
      'plx_coordinator_frames_relayed_total',
      'Sealed stream frames that came in for somebody who follows their request.',
      () => relay.framesRelayed,
    );
    gauge(
      this.registry,
      'plx_coordinator_frames_kept_bytes',
      'Sealed frames of live streams that are kept for readers.',
      () => relay.keptBytes,
    );
  }

  /** The network's numbers, and how the connections to the database are used. */
  #watchDatabase(database: Database): void {
    const { registry } = this;
    const numbers = oneAtATime(() => answered(readNumbers(database)));
    const watch = (name: string, help: string, read: (found: NetworkNumbers | null) => number) =>
      new Gauge({
        name: `plx_coordinator_${name}`,
        help,
        registers: [registry],
        async collect() {
          this.set(read(await numbers()));
        },
      });
    watch('database_up', 'Whether the database answered within 2 s.', (found) => (found ? 1 : 0));
    for (const [key, [name, help]] of Object.entries(NUMBERS))
      watch(name, help, (found) => found?.[key as keyof NetworkNumbers] ?? NaN);
    for (const state of ['open', 'idle', 'wanted'] as const)
      gauge(
        registry,
        `plx_coordinator_database_connections_${state}`,
        POOL_HELP[state],
        () => poolUse(database)[state],
      );
  }
}

const POOL_HELP: Readonly<Record<keyof PoolUse, string>> = {
  open: 'Connections to the database that are open.',
  idle: 'Those of them that nothing uses.',
  wanted: 'Statements that wait for a connection.',
};

/** All gauges of one look share one answer. */
function oneAtATime<T>(read: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  return () => (running ??= read().finally(() => (running = undefined)));
}

/** @returns null when there is no answer in time: a look never fails for it. */
async function answered(numbers: Promise<NetworkNumbers>): Promise<NetworkNumbers | null> {
  const patience = new AbortController();
  try {
    return await Promise.race([
      numbers.catch(() => null),
      sleep(NUMBERS_MS_MAX, null, { signal: patience.signal }).catch(() => null),
    ]);
  } finally {
    patience.abort();
  }
}

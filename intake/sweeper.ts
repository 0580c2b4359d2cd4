import { setTimeout as sleep } from 'node:timers/promises';
import { inTransaction } from '../prisma/client.ts';
import { showStandardPrices } from '../prisma/prices.ts';
import type { BackgroundDependencies } from './background.ts';
import { tellBudgetAlerts } from './budget-alerts.ts';
import { forgetCertificates } from './certificates.ts';
import { freeLapsed } from './leases.ts';
import { match, remind } from './match.ts';
import { markOffline } from './online.ts';
import { measureAgain, probe } from './probe.ts';
import { refund } from './refunds.ts';
import { reclaimAbsent, reclaimClosed } from './reclaim.ts';

const SWEEP_MS = 1_000;
/** After each round in a row that found nothing to give the next hint waits so much longer. */
const FRUITLESS_MS = 5;
const FRUITLESS_MS_MAX = 50;
/** Any number that all coordinators share: one of them sweeps at a time. */
const SWEEP_LOCK = 5_074_821;

/** Something that is done once in a while, by one coordinator of the network. */
export interface Duty {
  readonly name: string;
  readonly everySeconds: number;
  readonly run: (dependencies: BackgroundDependencies) => Promise<unknown>;
}

/** In the order in which they are done: what frees slots comes before what gives them away. */
export const DUTIES: readonly Duty[] = [
  { name: 'reclaim closed', everySeconds: 2, run: reclaimClosed },
  { name: 'reclaim absent', everySeconds: 10, run: (it) => reclaimAbsent(it) },
  { name: 'forget finished', everySeconds: 1, run: forgetFinished },
  { name: 'mark offline', everySeconds: 1, run: markOffline },
  { name: 'free lapsed', everySeconds: 10, run: freeLapsed },
  { name: 'repair hints', everySeconds: 1, run: repairHints },
  { name: 'probe', everySeconds: 1, run: probe },
  { name: 'measure again', everySeconds: 1, run: measureAgain },
  { name: 'remind', everySeconds: 1, run: remind },
  { name: 'refund', everySeconds: 1, run: refund },
  { name: 'tell budget alerts', everySeconds: 1, run: tellBudgetAlerts },
  { name: 'show prices', everySeconds: 5, run: ({ database }) => showStandardPrices(database) },
  { name: 'forget certificates', everySeconds: 60, run: forgetCertificates },
];

export interface Sweeper {
  /** Capacity may have appeared: matches at once, if anything is known to wait. */
  hint(): void;
  /** A unit begins to wait. */
  expect(): void;
  stop(): Promise<void>;
}

/**
 * The background work of a coordinator: gives free slots to waiting units, whenever a hint says
 * that it may be worth it and once a second in any case, and does the duties of the network. Hints
 * only make it sooner; a missed one costs a second.
 */
export function startSweeper(dependencies: BackgroundDependencies, duties = DUTIES): Sweeper {
  const { log } = dependencies;
  const stopped = new AbortController();
  const { signal } = stopped;
  // What waits for another coordinator is seen within a second; here every request gives a hint.
  let anyWaiting = true;
  let hinted: (() => void) | undefined;
  let isHinted = false;
  const failed = (error: unknown) =>
    log.error({ error: String(error) }, 'sweeper // failed, will sweep again');

  async function matching(): Promise<void> {
    let fruitless = 0;
    while (!signal.aborted) {
      isHinted = false;
      anyWaiting = false;
      try {
        const matched = await match(dependencies);
        anyWaiting ||= matched.anyWaiting;
        fruitless = matched.anyWaiting && matched.assigned.length === 0 ? fruitless + 1 : 0;
        if (matched.assigned.length > 0) continue;
      } catch (error) {
        anyWaiting = true;
        failed(error);
        await pause(SWEEP_MS, signal);
      }
      // One that waits for what isn't there must not have every request looked at for it.
      await pause(Math.min(fruitless * FRUITLESS_MS, FRUITLESS_MS_MAX), signal);
      if (isHinted && anyWaiting) continue;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, SWEEP_MS);
        hinted = () => {
          clearTimeout(timer);
          resolve();
        };
        if (signal.aborted) hinted();
      });
      hinted = undefined;
    }
  }

  const loops = Promise.all([
    matching(),
    // What Temporal has lost shows when coordinators start again.
    reclaimAbsent(dependencies, true).catch(failed),
    repeatedly(signal, failed, createRound(dependencies, duties)),
  ]);
  return {
    hint() {
      isHinted = true;
      if (anyWaiting) hinted?.();
    },
    expect() {
      anyWaiting = true;
      this.hint();
    },
    async stop() {
      stopped.abort();
      hinted?.();
      await loops;
    },
  };
}

async function repeatedly(
  signal: AbortSignal,
  failed: (error: unknown) => void,
  work: () => Promise<unknown>,
): Promise<void> {
  while (!signal.aborted) {
    await work().catch(failed);
    await pause(SWEEP_MS, signal);
  }
}

/** Shorter when it is aborted. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}

/**
 * One round of the duties that are due, unless another coordinator is at it. One that fails doesn't
 * keep the others from being done.
 *
 * @returns a function that does a round each time it is called.
 */
export function createRound(
  dependencies: BackgroundDependencies,
  duties: readonly Duty[] = DUTIES,
): () => Promise<void> {
  const doneAtMs = new Map<string, number>();
  return async () => {
    const nowMs = performance.now();
    const due = duties.filter(
      ({ name, everySeconds }) => nowMs >= (doneAtMs.get(name) ?? -Infinity) + everySeconds * 1_000,
    );
    if (due.length === 0) return;
    await inTransaction(dependencies.database, async (transaction) => {
      const [lock] = await transaction.$queryRaw<{ held: boolean }[]>`
        SELECT pg_try_advisory_xact_lock(${SWEEP_LOCK}::bigint) AS held`;
      if (!lock?.held) return;
      for (const { name, run } of due) {
        doneAtMs.set(name, nowMs);
        try {
          await run(dependencies);
        } catch (error) {
          dependencies.log.error({ duty: name, error: String(error) }, 'sweeper // a duty failed');
        }
      }
    });
  };
}

/**
 * `is_full` keeps Schedule's look short, and the slots are the truth: a lease that ran out, or a
 * slot that was freed while another was taken, leaves the hint wrong until it is mended here.
 */
export async function repairHints({
  database,
}: Pick<BackgroundDependencies, 'database'>): Promise<void> {
  await database.$executeRaw`
    UPDATE node SET is_full = FALSE WHERE id IN (
      SELECT id FROM node
      WHERE is_full AND EXISTS (
        SELECT FROM slot WHERE slot.machine_id = node.machine_id AND slot.index < node.slots
          AND (slot.unit_id IS NULL OR slot.lease_until < now()))
      FOR NO KEY UPDATE OF node SKIP LOCKED)`;
}

/**
 * A cancellation may end a request while Schedule is just putting it among those that wait. Such a
 * row would keep others from the nodes that suit it.
 */
export async function forgetFinished({
  database,
}: Pick<BackgroundDependencies, 'database'>): Promise<void> {
  await database.$executeRaw`
    DELETE FROM waiting USING request
    WHERE request.id = waiting.unit_id AND request.finished_at IS NOT NULL`;
}

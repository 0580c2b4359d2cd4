import { setTimeout as sleep } from 'node:timers/promises';
import { inTransaction } from '../prisma/client.ts';
import { isOutage } from '../protocol/outage.ts';
import type { BackgroundDependencies } from './background.ts';

const BEAT_MS = 1_000;
/** Temporal answers this call from memory. */
const TEMPORAL_MS_MAX = 2_000;

export interface Pulse {
  stop(): Promise<void>;
}

/**
 * Writes down each second that the network can do its work, and afterwards the times when it
 * couldn't. In a loop of its own: what is slow elsewhere must not look like an outage.
 *
 * @returns once the first beat is written, so that what is decided from then on knows of the outage
 *   that this start ends.
 * @throws whatever keeps the first beat from being written.
 */
export async function startPulse(dependencies: BackgroundDependencies): Promise<Pulse> {
  const { log } = dependencies;
  const stopped = new AbortController();
  const { signal } = stopped;
  await beat(dependencies);

  async function beating(): Promise<void> {
    let missing = false;
    while (!signal.aborted) {
      await sleep(BEAT_MS, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      try {
        await beat(dependencies);
        missing = false;
      } catch (error) {
        // Said once per outage, not every second.
        if (!missing) log.error({ error: String(error) }, 'coordinator // pulse: no beat');
        missing = true;
      }
    }
  }

  const beats = beating();
  return {
    async stop() {
      stopped.abort();
      await beats;
    },
  };
}

/**
 * One beat, if both PostgreSQL and Temporal answer. A network that was never there before had no
 * outage; any number of coordinators may beat.
 *
 * @returns whether an outage ended with it, which is written down once.
 */
export async function beat({ database, client, log }: BackgroundDependencies): Promise<boolean> {
  await client.withDeadline(Date.now() + TEMPORAL_MS_MAX, () =>
    client.workflowService.getSystemInfo({}),
  );
  const seconds = await inTransaction(database, async (transaction) => {
    const [last] = await transaction.$queryRaw<{ beatAt: Date; now: Date }[]>`
      SELECT beat_at AS "beatAt", clock_timestamp() AS now FROM pulse WHERE id = 1 FOR UPDATE`;
    const ended = last && isOutage(last.beatAt.getTime(), last.now.getTime());
    if (ended)
      await transaction.$executeRaw`
        INSERT INTO outage (began_at, ended_at) VALUES (${last.beatAt}, ${last.now})`;
    await transaction.$executeRaw`
      INSERT INTO pulse (id, beat_at) VALUES (1, clock_timestamp())
      ON CONFLICT (id) DO UPDATE SET beat_at = greatest(pulse.beat_at, EXCLUDED.beat_at)`;
    return ended ? (last.now.getTime() - last.beatAt.getTime()) / 1_000 : null;
  });
  if (seconds !== null)
    log.warn({ seconds }, 'coordinator // pulse: an outage is over; it counts against no node');
  return seconds !== null;
}

import { setTimeout as sleep } from 'node:timers/promises';

const WITHIN_MS = 45_000;

/** Waits for a condition, generously, since CI machines are busy. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
): Promise<void> {
  const untilMs = Date.now() + WITHIN_MS;
  while (!(await condition())) {
    if (Date.now() > untilMs) throw new Error(`not within ${WITHIN_MS / 1_000} s: ${what}`);
    await sleep(20);
  }
}

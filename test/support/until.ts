import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Waits for a condition, generously, since CI machines are busy.
 *
 * @param what names the condition, for the error.
 * @param withinSeconds 45 by default, which is less than a test's own limit.
 */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  withinSeconds = 45,
): Promise<void> {
  const untilMs = Date.now() + withinSeconds * 1_000;
  while (!(await condition())) {
    if (Date.now() > untilMs) throw new Error(`not within ${withinSeconds} s: ${what}`);
    await sleep(20);
  }
}

import { setTimeout as sleep } from 'node:timers/promises';
import { CliError } from './errors.ts';

/** How long a gateway that is away is borne, and how often it is asked meanwhile. */
export interface Patience {
  /** From the first failure on; an answer starts it anew. */
  readonly outageMsMax: number;
  readonly pauseMs: number;
}

/** Long enough for a gateway to be restarted. */
export const PATIENCE: Patience = { outageMsMax: 30_000, pauseMs: 500 };

/**
 * Asks again while the gateway can't be reached, or says that it can't answer just now.
 *
 * @param say is told once, with a line for people, that it goes on.
 * @throws CliError what it failed with at last, or at once when asking again is of no use.
 */
export async function patiently<Answer>(
  ask: () => Promise<Answer>,
  say: (line: string) => void,
  { outageMsMax, pauseMs }: Patience,
): Promise<Answer> {
  let untilMs: number | undefined;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof CliError && error.isTransient)) throw error;
      if (untilMs === undefined) {
        const [what] = error.message.split('\n');
        say(`${what} (${error.code}) Asking again for up to ${outageMsMax / 1_000} s …`);
      }
      untilMs ??= Date.now() + outageMsMax;
      if (Date.now() >= untilMs) throw error;
    }
    await sleep(pauseMs);
  }
}

import type { Logger } from 'pino';
import type { Database } from '../prisma/client.ts';
import type { OutcomeListener } from '../prisma/outcomes.ts';
import { readRequest, type RequestRecord } from '../prisma/requests.ts';

/** After the database didn't answer. */
const LOOK_AGAIN_MS = 1_000;

export interface RecordSource {
  readonly database: Database;
  readonly outcomes: OutcomeListener;
  readonly log: Logger;
}

/**
 * Waits until one request's record is as wanted; nothing is polled.
 *
 * @param isWanted asked each time the record says something new.
 * @param signal ends the wait.
 * @param lookNow whether it may have come to that before; a look that is saved is a statement less.
 * @returns undefined when the wait was ended first.
 */
export function whenRecord(
  { database, outcomes, log }: RecordSource,
  requestId: string,
  isWanted: (record: RequestRecord) => boolean,
  signal: AbortSignal,
  lookNow = true,
): Promise<RequestRecord | undefined> {
  return new Promise((resolve) => {
    const end = (record?: RequestRecord) => {
      unsubscribe();
      signal.removeEventListener('abort', onAbort);
      resolve(record);
    };
    const onAbort = () => end();
    const look = () => {
      readRequest(database, requestId).then(
        (record) => record && isWanted(record) && end(record),
        (error: unknown) => {
          // The request goes on whether or not its row can be read just now.
          log.warn(
            { error: String(error) },
            'coordinator // outcome not readable, will look again',
          );
          if (!signal.aborted) setTimeout(look, LOOK_AGAIN_MS);
        },
      );
    };
    const unsubscribe = outcomes.subscribe(requestId, look);
    signal.addEventListener('abort', onAbort);
    if (lookNow) look();
  });
}

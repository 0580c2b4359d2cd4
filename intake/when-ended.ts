import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { readRequest } from '../prisma/requests.ts';
import type { RequestId } from '../protocol/ids.ts';
import type { RecordSource } from './when-record.ts';

/** After an outage, or after a run that was ended from outside, and whose request wasn't yet. */
const LOOK_AGAIN_MS = 1_000;

type Dependencies = Pick<RecordSource, 'database' | 'log'> & { readonly client: Client };

/**
 * Waits until a request has ended. The end of one that was answered before isn't announced, so its
 * run is asked, which closes then.
 *
 * @param signal ends the wait.
 * @returns false when the wait was ended first.
 */
export async function whenEnded(
  dependencies: Dependencies,
  requestId: RequestId,
  signal: AbortSignal,
): Promise<boolean> {
  const { client, log } = dependencies;
  while (!signal.aborted) {
    try {
      if (await hasEnded(dependencies, requestId)) return true;
      await client.withAbortSignal(signal, () => client.workflow.getHandle(requestId).result());
      if (await hasEnded(dependencies, requestId)) return true;
    } catch (error) {
      if (!signal.aborted)
        log.warn({ error: String(error) }, 'coordinator // end not known, will look again');
    }
    await sleep(LOOK_AGAIN_MS, undefined, { signal }).catch(() => {});
  }
  return false;
}

async function hasEnded({ database }: Dependencies, requestId: RequestId): Promise<boolean> {
  const record = await readRequest(database, requestId);
  return record?.finishedAt instanceof Date;
}

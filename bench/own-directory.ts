import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What ends the parts that were started so far, the last one first. */
export type Stops = (() => Promise<unknown>)[];

/**
 * Starts parts over a directory of their own, which goes with them.
 *
 * @param start adds to `stops` what ends each part; if it throws, those are ended.
 */
export async function inOwnDirectory<Parts extends object>(
  prefix: string,
  start: (directory: string, stops: Stops) => Promise<Parts>,
): Promise<Parts & { stop(): Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), prefix));
  // Private by default; PostgreSQL's account must be able to pass through.
  await chmod(directory, 0o755);
  const stops: Stops = [() => rm(directory, { recursive: true, force: true })];
  const stop = async () => {
    for (const each of stops.splice(0).toReversed()) await each();
  };
  try {
    return { ...(await start(directory, stops)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

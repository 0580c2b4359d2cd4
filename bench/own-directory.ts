import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exitAtOnce } from '../workers/embedded/os-process.ts';

/** What ends the parts that were started so far, the last one first. */
export type Stops = (() => Promise<unknown>)[];

/** What ends all that is running over a directory. */
const running = new Set<() => Promise<void>>();

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
    running.delete(stop);
    for (const each of stops.splice(0).toReversed()) await each();
  };
  running.add(stop);
  try {
    return { ...(await start(directory, stops)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * Ctrl-C, or SIGTERM, ends what is running here, and then the process with 130; a second one kills
 * all. Without it, servers that this process started would outlive it.
 */
export function stopOnSignals(): void {
  let isStopping = false;
  const stop = () => {
    if (isStopping) exitAtOnce(130);
    isStopping = true;
    // What was being measured fails now, and must not end the process before the servers.
    process.on('uncaughtException', () => {});
    process.stdout.write('\nStopping …\n');
    void Promise.allSettled([...running].map((each) => each())).then(() => process.exit(130));
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, stop);
}

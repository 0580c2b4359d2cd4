import { readdir, readlink, realpath, rm, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { hasCode, readOrNothing } from './files.ts';
import { stopProcess, type StopSignal } from './os-process.ts';
import { choosePlace, type PostgresPlace } from './postgres-place.ts';
import { stopOrphan } from './server.ts';

/** Fast shutdown, immediate shutdown (PostgreSQL manual 18.5), and force. */
export const STOP_SIGNALS: [StopSignal, ...StopSignal[]] = [
  ['SIGINT', 10_000],
  ['SIGQUIT', 5_000],
  ['SIGKILL', 5_000],
];
/** A backend has no shutdown of its own to do: what it has not committed is lost either way. */
const BACKEND_STOP_SIGNALS: readonly StopSignal[] = [
  ['SIGQUIT', 2_000],
  ['SIGKILL', 5_000],
];

/** Stops a server that a killed process left on this data; throws if its owner still runs. */
export async function stopLeftoverPostgres(
  dataDir: string,
  log: (message: string) => void,
): Promise<void> {
  const full = resolve(dataDir);
  await stopLeftover(await choosePlace(full, log), `${full}.server.json`, log);
}

/** The same, for data whose place is known. Afterwards a new server can start on it. */
export async function stopLeftover(
  { dataDir }: PostgresPlace,
  recordFile: string,
  log: (message: string) => void,
): Promise<void> {
  const pidFile = join(dataDir, 'postmaster.pid');
  const pid = Number.parseInt((await readOrNothing(pidFile)) ?? '', 10);
  const pids = pid > 0 ? [pid] : [];
  const search = { name: 'PostgreSQL', recordFile, stopSignals: STOP_SIGNALS, path: dataDir };
  await stopOrphan({ ...search, flag: '-D', pids, log });
  await stopBackends(dataDir, log);
  await mendPidFile(pidFile);
}

/**
 * The server's children notice its death, but one that is busy or suspended does so late, and no
 * new server may touch the data before. Without /proc they are left to PostgreSQL's own check,
 * which refuses to start until they are gone.
 */
async function stopBackends(dataDir: string, log: (message: string) => void): Promise<void> {
  if (process.platform !== 'linux') return;
  const folder = await realpath(dataDir).catch(() => undefined);
  if (folder === undefined) return;
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const [directory, program] = await Promise.all([
      linkTarget(`/proc/${name}/cwd`),
      linkTarget(`/proc/${name}/exe`),
    ]);
    // A person's shell may be in that directory too.
    if (directory !== folder || basename(program ?? '') !== 'postgres') continue;
    log(`A child of a killed PostgreSQL still runs (process ${name}): stopping it`);
    await stopProcess(Number(name), BACKEND_STOP_SIGNALS);
  }
}

/** Nothing for a process that has ended, or is none of ours to look at. */
function linkTarget(path: string): Promise<string | undefined> {
  return readlink(path).catch(() => undefined);
}

/** As PostgreSQL itself asks. A zombie counts: whoever has to reap it may be slow to. */
function hasProcess(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !hasCode(error, 'ESRCH');
  }
}

/**
 * No server runs now, and PostgreSQL knows a dead server's file by its process id; unless a
 * stranger was given that id, as is common after a container's restart, or a power cut left the
 * file empty. The file itself stays if it can: it names the shared memory in which PostgreSQL looks
 * for processes that still use the data.
 */
async function mendPidFile(pidFile: string): Promise<void> {
  const text = await readOrNothing(pidFile);
  if (text === undefined) return;
  const pid = Number.parseInt(text, 10);
  if (!(pid > 0)) return rm(pidFile, { force: true });
  if (!hasProcess(pid)) return;
  // A server takes the id of the process that starts it for a dead server's.
  await writeFile(pidFile, text.replace(/^.*/, String(process.pid)));
}

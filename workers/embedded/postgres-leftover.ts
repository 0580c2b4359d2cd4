import { readlink, realpath, rm, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { hasCode, readOrNothing } from './files.ts';
import { processIds, stopProcess, type StopSignal } from './os-process.ts';
import { movedDataDir } from './postgres-place.ts';
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

/**
 * Stops a server that a killed process left on this data, so that a new one can start on it. It
 * needs neither programs nor an account, since the next network may use a server elsewhere.
 *
 * @returns where the record of the next one goes.
 * @throws Error if its owner still runs.
 */
export async function stopLeftoverPostgres(
  dataDir: string,
  log: (message: string) => void,
): Promise<string> {
  const full = resolve(dataDir);
  const recordFile = `${full}.server.json`;
  // Where they are for root depends on rights that may have changed since.
  const paths = process.getuid?.() === 0 ? [full, movedDataDir(full)] : [full];
  const pidFiles = paths.map((path) => join(path, 'postmaster.pid'));
  const texts = await Promise.all(pidFiles.map(readOrNothing));
  const pids = texts.map((text) => Number.parseInt(text ?? '', 10)).filter((pid) => pid > 0);
  const search = { name: 'PostgreSQL', recordFile, stopSignals: STOP_SIGNALS, paths };
  await stopOrphan({ ...search, flag: '-D', pids, log });
  for (const path of paths) await stopBackends(path, log);
  for (const pidFile of pidFiles) await mendPidFile(pidFile);
  return recordFile;
}

/**
 * The server's children notice its death, but one that is busy or suspended does so late, and no
 * new server may touch the data before. Without /proc they are left to PostgreSQL's own check,
 * which refuses to start until they are gone.
 */
async function stopBackends(dataDir: string, log: (message: string) => void): Promise<void> {
  const folder = await realpath(dataDir).catch(() => undefined);
  if (folder === undefined) return;
  for (const pid of await processIds()) {
    const [directory, program] = await Promise.all([
      linkTarget(`/proc/${pid}/cwd`),
      linkTarget(`/proc/${pid}/exe`),
    ]);
    // A person's shell may be in that directory too.
    if (directory !== folder || basename(program ?? '') !== 'postgres') continue;
    log(`A child of a killed PostgreSQL still runs (process ${pid}): stopping it`);
    await stopProcess(pid, BACKEND_STOP_SIGNALS);
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

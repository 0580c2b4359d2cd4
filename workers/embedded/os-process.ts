import { execFile } from 'node:child_process';
import { readFile, readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const POLL_MS = 20;
const PROC_STAT_STATE = 0;
const PROC_STAT_START_TIME = 19;

/**
 * A text that differs between two processes that had the same id, so that a stranger which was
 * given a dead process's id isn't taken for it.
 *
 * @returns nothing when no such process runs (a zombie doesn't).
 */
export async function processIdentity(pid: number): Promise<string | undefined> {
  // Slim containers have no `ps`, other systems no /proc.
  if (process.platform !== 'linux') return ps('lstart=', pid);
  const stat = await readProc(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The second field is the name in brackets, which may hold anything: count from behind it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[PROC_STAT_STATE] === 'Z' ? undefined : fields[PROC_STAT_START_TIME];
}

/** The arguments of a process joined by blanks; empty when it doesn't run. */
export async function commandLine(pid: number): Promise<string> {
  if (process.platform !== 'linux') return (await ps('command=', pid)) ?? '';
  return ((await readProc(`/proc/${pid}/cmdline`)) ?? '').replaceAll('\0', ' ');
}

/**
 * The processes that were given an option as two arguments of their own; on Linux only, elsewhere
 * none are found. A shell that has such a command as its text isn't one of them.
 */
export async function processesWith(flag: string, value: string): Promise<number[]> {
  const found: number[] = [];
  for (const pid of await processIds()) {
    // Those of others may be hidden (the mount option `hidepid`).
    const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (text.includes(`\0${flag}\0${value}\0`)) found.push(pid);
  }
  return found;
}

/** Of all that run now; none where there is no /proc. */
export async function processIds(): Promise<number[]> {
  if (process.platform !== 'linux') return [];
  return (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
}

/** A signal, and how long to wait for the process to end before the next one is tried. */
export type StopSignal = readonly [signal: NodeJS.Signals, waitMs: number];

/**
 * Sends the signals in turn until the process is gone.
 *
 * @throws Error if it outlives them all, or belongs to another user.
 */
export async function stopProcess(pid: number, signals: readonly StopSignal[]): Promise<void> {
  const identity = await processIdentity(pid);
  if (identity === undefined) return;
  for (const [signal, waitMs] of signals) {
    const deadline = Date.now() + waitMs;
    if ((await processIdentity(pid)) === identity) {
      signalProcess(pid, signal);
      // One that was suspended would take no notice.
      signalProcess(pid, 'SIGCONT');
    }
    while (Date.now() < deadline) {
      if ((await processIdentity(pid)) !== identity) return;
      await sleep(POLL_MS);
    }
  }
  const names = signals.map(([signal]) => signal).join(', ');
  throw new Error(`Process ${pid} did not end after ${names}. Stop it by hand.`);
}

const toStopAtExit = new Map<number, NodeJS.Signals>();

/**
 * Makes sure that a child doesn't outlive this process when it ends without stopping it.
 *
 * @returns takes that back, for a child that has ended.
 */
export function stopAtExit(pid: number, signal: NodeJS.Signals): () => void {
  if (toStopAtExit.size === 0) process.once('exit', stopAll);
  toStopAtExit.set(pid, signal);
  return () => {
    toStopAtExit.delete(pid);
    if (toStopAtExit.size === 0) process.off('exit', stopAll);
  };
}

/** Kills the children that are still to be stopped, and ends this process. */
export function exitAtOnce(code: number): never {
  for (const pid of toStopAtExit.keys()) toStopAtExit.set(pid, 'SIGKILL');
  process.exit(code);
}

function stopAll() {
  for (const [pid, signal] of toStopAtExit) signalProcess(pid, signal);
}

function signalProcess(pid: number, signal: NodeJS.Signals) {
  try {
    process.kill(pid, signal);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // It may end between the look and the signal.
    if (code === 'ESRCH') return;
    if (code === 'EPERM')
      throw new Error(`Process ${pid} belongs to another user. Stop it as that user.`, {
        cause: error,
      });
    throw error;
  }
}

async function readProc(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}

async function ps(format: string, pid: number): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)('ps', ['-o', format, '-p', String(pid)]);
    return stdout.trim() || undefined;
  } catch (error) {
    // `ps` exits with 1 when there is no such process.
    if ((error as { code?: unknown }).code === 1) return undefined;
    throw error;
  }
}

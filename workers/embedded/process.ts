import { spawn, type ChildProcess } from 'node:child_process';
import { createWriteStream, openSync, closeSync, type WriteStream } from 'node:fs';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { finished } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from './files.ts';
import { stopAtExit, stopProcess, type StopSignal } from './os-process.ts';
import { isRunning, processRecord, readRecord, recordOf, writeRecord } from './process-record.ts';
import { lastLogLines } from './server.ts';

/** A role that fails ends by itself; this is for a machine that is very busy. */
const READY_WITHIN_MS = 180_000;
const STOP_WITHIN_MS = 10_000;
const KILL_WITHIN_MS = 5_000;
const LAST_WORDS_WITHIN_MS = 500;
const LEFTOVER_SIGNALS: readonly StopSignal[] = [
  ['SIGTERM', STOP_WITHIN_MS],
  ['SIGKILL', KILL_WITHIN_MS],
];
/** What a program needs of its surroundings; a role's own settings come by `env` alone. */
const INHERITED = ['PATH', 'HOME', 'TMPDIR', 'TZ', 'LANG', 'NODE_EXTRA_CA_CERTS', 'NODE_OPTIONS'];

export interface RoleOptions {
  /** For people, such as `gateway`. */
  readonly name: string;
  /** Absolute path of its file, TypeScript or JavaScript. */
  readonly entry: string;
  /** Its whole configuration: besides PATH and the like it inherits nothing. */
  readonly env: Readonly<Record<string, string>>;
  /** Further arguments of Node itself, such as `--cpu-prof`; none by default. */
  readonly nodeArgs?: readonly string[];
  /** Both output streams are appended here. */
  readonly logFile: string;
  /** Says which process it is, so that a later start can stop it; none by default. */
  readonly recordFile?: string;
  /** Called if it ends after being ready and without being stopped. */
  readonly onExit?: (reason: string) => void;
  /** How long it may take to get ready; 180,000 by default. */
  readonly readyWithinMs?: number;
  /** How long after SIGTERM it is killed; 10,000 by default. */
  readonly stopWithinMs?: number;
  /** Gives up starting. */
  readonly signal?: AbortSignal;
}

/** A running child process. */
export interface Role {
  readonly pid: number;
  /** What the role announced: its first line of stdout that is JSON with `ready: true`. */
  readonly ready: Readonly<Record<string, unknown>>;
  /** Ends it with SIGTERM, after `stopWithinMs` with SIGKILL. */
  stop(): Promise<void>;
}

/**
 * Starts a role as a process of its own and waits until it says `{"ready":true,…}`. It ends with
 * this process, however that ends (see follow-parent.mjs), and a terminal's Ctrl-C reaches this
 * process only, which stops roles in order.
 *
 * @throws Error with its last log lines if it ends first or takes too long.
 */
export async function spawnRole(options: RoleOptions): Promise<Role> {
  const { name, logFile, readyWithinMs = READY_WITHIN_MS } = options;
  const signals: readonly StopSignal[] = [
    ['SIGTERM', options.stopWithinMs ?? STOP_WITHIN_MS],
    ['SIGKILL', KILL_WITHIN_MS],
  ];
  await mkdir(dirname(logFile), { recursive: true });
  const { child, log } = startChild(options);
  const logStart = await stat(logFile).then(({ size }) => size);
  let stopping = false;
  let isReady = false;
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) =>
      resolve(signal === null ? `exit code ${code}` : `signal ${signal}`),
    );
  });
  const { pid } = child;
  const release = pid === undefined ? () => undefined : stopAtExit(pid, 'SIGTERM');
  void ended.then((reason) => {
    release();
    if (isReady && !stopping) options.onExit?.(reason);
  });
  const stop = async () => {
    stopping = true;
    if (pid !== undefined) await stopProcess(pid, signals);
    if (options.recordFile !== undefined) await rm(options.recordFile, { force: true });
  };
  if (pid !== undefined && options.recordFile !== undefined)
    await recordChild(options.recordFile, pid, stop);
  const timeout = timer(readyWithinMs, options.signal);
  const ready = await Promise.race([readyLine(child, log), ended, timeout.elapsed]);
  timeout.cancel();
  if (pid === undefined || typeof ready !== 'object') {
    await stop();
    options.signal?.throwIfAborted();
    // Its last words may still be on their way from the pipe to the file.
    await Promise.race([finished(log), sleep(LAST_WORDS_WITHIN_MS)]);
    const why = typeof ready === 'string' ? ready : `not ready in ${readyWithinMs / 1_000} s`;
    throw new Error(`The ${name} did not start (${why}). ${await lastLogLines(logFile, logStart)}`);
  }
  isReady = true;
  return { pid, ready, stop };
}

async function recordChild(file: string, pid: number, stop: () => Promise<void>): Promise<void> {
  try {
    const record = await recordOf(pid).catch(() => undefined);
    // One that has ended already needs none.
    if (record) await writeRecord(file, record);
  } catch (error) {
    // Without a record the next start couldn't find it.
    await stop();
    throw error;
  }
}

/** Stops the roles that a killed network left behind, by their records in a directory. */
export async function stopLeftoverRoles(
  directory: string,
  log: (message: string) => void,
): Promise<void> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  });
  const stop = async (name: string) => {
    const path = join(directory, name);
    const record = await readRecord(processRecord, path);
    if (record && (await isRunning(record))) {
      const role = basename(name, '.json');
      log(`${role} was left running by an earlier start (process ${record.pid}): stopping it`);
      await stopProcess(record.pid, LEFTOVER_SIGNALS);
    }
    await rm(path, { force: true });
  };
  await Promise.all(names.map(stop));
}

function startChild({ entry, env, logFile, nodeArgs = [] }: RoleOptions): {
  child: ChildProcess;
  log: WriteStream;
} {
  const inherited = INHERITED.flatMap((key) => {
    const value = process.env[key];
    return value === undefined ? [] : [[key, value]];
  });
  const stderr = openSync(logFile, 'a');
  const followParent = import.meta.resolve('./follow-parent.mjs');
  const preload = entry.endsWith('.ts')
    ? [import.meta.resolve('tsx'), followParent]
    : [followParent];
  const imports = preload.flatMap((url) => ['--import', url]);
  const child = spawn(process.execPath, [...nodeArgs, ...imports, entry], {
    env: { ...Object.fromEntries(inherited), ...env, PLX_PARENT_PID: String(process.pid) },
    stdio: ['ignore', 'pipe', stderr, 'ipc'],
    detached: true,
  });
  closeSync(stderr);
  const log = createWriteStream(logFile, { flags: 'a' });
  // A full disk costs lines of the log, not the network.
  log.on('error', () => undefined);
  return { child, log };
}

/** Resolves to the announcement; every other line of stdout goes to the log. */
function readyLine(child: ChildProcess, log: WriteStream): Promise<Record<string, unknown>> {
  return new Promise((resolve) => {
    if (!child.stdout) return;
    const lines = createInterface({ input: child.stdout });
    lines.on('line', (line) => {
      const ready = parseReady(line);
      if (ready) resolve(ready);
      else log.write(`${line}\n`);
    });
    lines.once('close', () => log.end());
  });
}

function parseReady(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && 'ready' in value && value.ready === true
      ? { ...value }
      : undefined;
  } catch {
    // Not JSON, so an ordinary line of output.
    return undefined;
  }
}

/** Elapses when the time is up or the signal comes. */
function timer(
  ms: number,
  signal: AbortSignal | undefined,
): { elapsed: Promise<undefined>; cancel: () => void } {
  const over = new AbortController();
  const either = AbortSignal.any(signal ? [signal, over.signal] : [over.signal]);
  const elapsed = sleep(ms, undefined, { signal: either }).catch(() => undefined);
  return { elapsed, cancel: () => over.abort() };
}

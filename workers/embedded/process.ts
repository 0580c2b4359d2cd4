import { spawn, type ChildProcess } from 'node:child_process';
import { createWriteStream, openSync, closeSync, type WriteStream } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { finished } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { stopAtExit, stopProcess, type StopSignal } from './os-process.ts';
import { lastLogLines } from './server.ts';

export { assertPortFree } from './ports.ts';

const READY_WITHIN_MS = 60_000;
const STOP_WITHIN_MS = 10_000;
const KILL_WITHIN_MS = 5_000;
const LAST_WORDS_WITHIN_MS = 500;
/** What a program needs of its surroundings; a role's own settings come by `env` alone. */
const INHERITED = ['PATH', 'HOME', 'TMPDIR', 'TZ', 'LANG', 'NODE_EXTRA_CA_CERTS', 'NODE_OPTIONS'];

export interface RoleOptions {
  /** For people, such as `gateway`. */
  readonly name: string;
  /** Absolute path of the TypeScript file. */
  readonly entry: string;
  /** Its whole configuration: besides PATH and the like it inherits nothing. */
  readonly env: Readonly<Record<string, string>>;
  /** Further arguments of Node itself, such as `--cpu-prof`; none by default. */
  readonly nodeArgs?: readonly string[];
  /** Both output streams are appended here. */
  readonly logFile: string;
  /** Called if it ends after being ready and without being stopped. */
  readonly onExit?: (reason: string) => void;
  /** How long it may take to get ready; 60,000 by default. */
  readonly readyWithinMs?: number;
  /** How long after SIGTERM it is killed; 10,000 by default. */
  readonly stopWithinMs?: number;
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
  };
  const timeout = timer(readyWithinMs);
  const ready = await Promise.race([readyLine(child, log), ended, timeout.elapsed]);
  timeout.cancel();
  if (pid === undefined || typeof ready !== 'object') {
    await stop();
    // Its last words may still be on their way from the pipe to the file.
    await Promise.race([finished(log), sleep(LAST_WORDS_WITHIN_MS)]);
    const why = typeof ready === 'string' ? ready : `not ready in ${readyWithinMs / 1_000} s`;
    throw new Error(`The ${name} did not start (${why}). ${await lastLogLines(logFile, logStart)}`);
  }
  isReady = true;
  return { pid, ready, stop };
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
  const preload = [import.meta.resolve('tsx'), import.meta.resolve('./follow-parent.mjs')];
  const imports = preload.flatMap((url) => ['--import', url]);
  const child = spawn(process.execPath, [...nodeArgs, ...imports, entry], {
    env: { ...Object.fromEntries(inherited), ...env, PLX_PARENT_PID: String(process.pid) },
    stdio: ['ignore', 'pipe', stderr, 'ipc'],
    detached: true,
  });
  closeSync(stderr);
  return { child, log: createWriteStream(logFile, { flags: 'a' }) };
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

function timer(ms: number): { elapsed: Promise<undefined>; cancel: () => void } {
  let id: NodeJS.Timeout | undefined;
  const elapsed = new Promise<undefined>((resolve) => {
    id = setTimeout(() => resolve(undefined), ms);
  });
  return { elapsed, cancel: () => clearTimeout(id) };
}

import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir, open, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import {
  commandLine,
  processIdentity,
  processesWith,
  stopAtExit,
  stopProcess,
  type StopSignal,
} from './os-process.ts';
import { readRecord, writeRecord } from './process-record.ts';

const LOG_LINES_SHOWN = 12;
const LOG_BYTES_READ = 16_384;

/** How to start a server program and to recognise it later. */
export interface ServerOptions {
  /** For people, such as `PostgreSQL`. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** The account it runs under, if not this process's. */
  readonly account: { readonly uid?: number; readonly gid?: number };
  /** Its output is appended here. */
  readonly logFile: string;
  /** Says which process it is and who started it; removed when it has stopped. */
  readonly recordFile: string;
  readonly stopSignals: readonly [StopSignal, ...StopSignal[]];
  /** Called if it ends without being stopped. */
  readonly onExit?: ((reason: string) => void) | undefined;
}

export interface Server {
  readonly pid: number;
  /** Why it ended by itself, with its last words; nothing while it runs. */
  failure(): Promise<string | undefined>;
  stop(): Promise<void>;
}

const serverRecord = z.object({
  pid: z.int().positive(),
  owner: z.object({ pid: z.int().positive(), identity: z.string() }),
});

/**
 * Starts a server in a process group of its own, since a terminal's Ctrl-C goes to the whole group
 * and would stop it before those who use it. Its output goes straight to the file, so that it
 * survives the death of this process; the next start finds it by its record.
 */
export async function startServer(options: ServerOptions): Promise<Server> {
  const { name, command, args, env, account, logFile, recordFile, stopSignals } = options;
  await mkdir(dirname(logFile), { recursive: true });
  const log = openSync(logFile, 'a');
  const logStart = (await stat(logFile)).size;
  const stdio = ['ignore', log, log] as const;
  // Not this process's directory: an account of its own may not be allowed to see that.
  const child = spawn(command, args, {
    env,
    ...account,
    stdio: [...stdio],
    detached: true,
    cwd: '/',
  });
  closeSync(log);
  let ended: string | undefined;
  let stopping = false;
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error) =>
      reject(new Error(`${name} could not be started: ${error.message}`, { cause: error })),
    );
  });
  const { pid } = child;
  if (pid === undefined) throw new Error(`${name} was started without a process id`);
  const release = stopAtExit(pid, stopSignals[0][0]);
  child.once('exit', (code, signal) => {
    ended = signal === null ? `exit code ${code}` : `signal ${signal}`;
    release();
    if (!stopping) options.onExit?.(ended);
  });
  child.unref();
  const stop = async () => {
    stopping = true;
    await stopProcess(pid, stopSignals);
    await rm(recordFile, { force: true });
  };
  try {
    const owner = { pid: process.pid, identity: await processIdentity(process.pid) };
    await writeRecord(recordFile, { pid, owner });
  } catch (error) {
    // Without a record the next start couldn't find it.
    await stop();
    throw error;
  }
  return {
    pid,
    stop,
    failure: async () =>
      ended === undefined
        ? undefined
        : `${name} ended (${ended}). ${await lastLogLines(logFile, logStart)}`,
  };
}

/** What is known of a server that an earlier process may have left behind. */
export interface OrphanSearch extends Pick<ServerOptions, 'name' | 'recordFile' | 'stopSignals'> {
  /** The files that it serves, or all places where they may be. */
  readonly paths: readonly string[];
  /** The argument before a path in its command line, so that no stranger is stopped. */
  readonly flag: string;
  /** Process ids known from elsewhere, such as `postmaster.pid`. */
  readonly pids?: readonly number[];
  readonly log: (message: string) => void;
}

/**
 * Stops the server that a killed process left running on the same files: the one of the record and,
 * since the kill may have come before that was written, any with such a command line.
 *
 * @throws Error if whoever started it still runs: two must not share the files.
 */
export async function stopOrphan(search: OrphanSearch): Promise<void> {
  const { name, recordFile, stopSignals, paths, flag, log } = search;
  const record = await readRecord(serverRecord, recordFile);
  const found = await Promise.all(paths.map((path) => processesWith(flag, path)));
  const known = [...(record ? [record.pid] : []), ...(search.pids ?? [])];
  for (const pid of new Set([...known, ...found.flat()])) {
    const line = `${await commandLine(pid)} `;
    const path = paths.find((each) => line.includes(` ${flag} ${each} `));
    if (path === undefined) continue;
    if (record && (await processIdentity(record.owner.pid)) === record.owner.identity)
      throw new Error(
        `${name} already runs on ${path} (process ${pid}), started by process ` +
          `${record.owner.pid}, which still runs. Stop that one, or set PLX_DATA_DIR to another ` +
          'directory.',
      );
    log(`${name} was left running by an earlier start (process ${pid}): stopping it`);
    await stopProcess(pid, stopSignals);
  }
  await rm(recordFile, { force: true });
}

/** The last lines written to a log since it had `fromByte` bytes, for an error message. */
export async function lastLogLines(logFile: string, fromByte = 0): Promise<string> {
  const text = await logTail(logFile, fromByte);
  if (text === '') return `It wrote nothing to ${logFile}.`;
  const lines = text.split('\n').slice(-LOG_LINES_SHOWN);
  return `Last lines of ${logFile}:\n${lines.map((line) => `  ${line}`).join('\n')}`;
}

async function logTail(logFile: string, fromByte: number): Promise<string> {
  const file = await open(logFile, 'r');
  try {
    const { size } = await file.stat();
    const position = Math.max(fromByte, size - LOG_BYTES_READ);
    const { buffer, bytesRead } = await file.read({
      buffer: Buffer.alloc(LOG_BYTES_READ),
      position,
    });
    return buffer.subarray(0, bytesRead).toString('utf8').trim();
  } finally {
    await file.close();
  }
}

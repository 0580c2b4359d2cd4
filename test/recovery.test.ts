import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { processIdentity } from '../workers/embedded/os-process.ts';
import { freePort } from './support/servers.ts';
import { until } from './support/until.ts';

const ROLES = ['coordinator', 'gateway', 'node-1', 'node-2', 'node-3'];
/** Long enough to be running while everything is killed. */
const LONG = { prompt: 'Write a long story about a lighthouse.', maxTokens: 400 };

/** Less than the limit of each test. A whole network starts meanwhile, or a long request runs. */
const WITHIN_SECONDS = 240;

interface RequestView {
  readonly status: string;
  readonly finished_at: string | null;
  readonly charged_wei: string;
  readonly result: { readonly choices: readonly { message: { content: string } }[] } | null;
}

/** `npm start` against `kill -9`, with the real servers and the real model. */
describe('recovery', function () {
  this.timeout(300_000);
  let directory: string;
  let ports: Record<'GATEWAY' | 'COORDINATOR' | 'POSTGRES' | 'TEMPORAL' | 'TEMPORAL_UI', number>;
  let launcher: ChildProcess;
  let output = '';
  let apiKey: string;
  let longRequest: string;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plx-recovery-'));
    await chmod(directory, 0o755);
    ports = {
      GATEWAY: await freePort(),
      COORDINATOR: await freePort(),
      POSTGRES: await freePort(),
      TEMPORAL: await freePort(),
      TEMPORAL_UI: await freePort(),
    };
    await start();
    apiKey = await text('keys/demo-api-key');
  });
  after(async () => {
    await stop();
    await rm(directory, { recursive: true, force: true });
  });

  const text = async (name: string) => (await readFile(join(directory, name), 'utf8')).trim();
  const pidIn = async (name: string) =>
    (JSON.parse(await text(name)) as { readonly pid: number }).pid;

  /** Starts the network as a person does, and waits for its first request to be answered. */
  async function start(): Promise<void> {
    const root = fileURLToPath(new URL('../', import.meta.url));
    const set = Object.entries(ports).map(([name, port]) => [`PLX_${name}_PORT`, String(port)]);
    const args = ['bootstrap/start.mjs', '--max-tokens', '4'];
    output = '';
    launcher = spawn(process.execPath, args, {
      cwd: root,
      env: { ...process.env, ...Object.fromEntries(set), PLX_DATA_DIR: directory },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [launcher.stdout, launcher.stderr])
      stream?.on('data', (data: Buffer) => (output += data.toString('utf8')));
    await until(
      () => {
        assert.equal(launcher.exitCode, null, output);
        assert.equal(launcher.signalCode, null, output);
        return output.includes('Ctrl-C stops the network.');
      },
      'the network is up',
      WITHIN_SECONDS,
    );
    assert.match(output, /Status {3}completed/);
  }

  async function stop(): Promise<void> {
    if (launcher.exitCode !== null || launcher.signalCode !== null) return;
    launcher.kill('SIGTERM');
    await once(launcher, 'exit');
  }

  /** The process of each part, by name. */
  async function pids(): Promise<Map<string, number>> {
    const [owner = ''] = await readdir(join(directory, 'run')).then((names) =>
      names.filter((name) => name.startsWith('network.')),
    );
    const all = new Map([
      ['launcher', launcher.pid ?? 0],
      ['network', await pidIn(join('run', owner))],
      ['postgresql', await pidIn('postgres.server.json')],
      ['temporal', await pidIn('temporal/temporal.db.server.json')],
    ]);
    for (const role of ROLES) all.set(role, await pidIn(`run/roles/${role}.json`));
    return all;
  }

  async function call(path: string, body?: object): Promise<Response> {
    return fetch(`http://127.0.0.1:${ports.GATEWAY}${path}`, {
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      ...(body ? { method: 'POST', body: JSON.stringify(body) } : {}),
    });
  }

  const ask = ({ prompt, maxTokens }: typeof LONG, stream = false) =>
    call('/v1/chat/completions', {
      model: 'smollm2-135m-instruct',
      messages: [{ role: 'user', content: prompt }],
      max_tokens: maxTokens,
      temperature: 0,
      stream,
    });

  async function finished(id: string): Promise<RequestView> {
    let view: RequestView | undefined;
    await until(
      async () => {
        view = (await (await call(`/v1/requests/${id}`)).json()) as RequestView;
        return view.finished_at !== null;
      },
      `${id} has ended`,
      WITHIN_SECONDS,
    );
    assert.ok(view);
    return view;
  }

  /** How often something was captured for a request. */
  async function charges(id: string): Promise<number> {
    const password = await text('postgres.password');
    const client = new Client({
      connectionString: `postgresql://postgres:${password}@127.0.0.1:${ports.POSTGRES}/parallelix`,
    });
    await client.connect();
    const { rowCount } = await client.query(
      `SELECT FROM ledger_transfer WHERE purpose = 'capture' AND key LIKE $1 || ':%'`,
      [id],
    );
    await client.end();
    return rowCount ?? 0;
  }

  it('completes a running request once after everything was killed', async () => {
    const response = await ask(LONG, true);
    longRequest = response.headers.get('x-request-id') ?? '';
    // Its first words: it runs on a node.
    await response.body?.getReader().read();
    const killed = await pids();
    for (const pid of killed.values()) process.kill(pid, 'SIGKILL');
    for (const [name, pid] of killed)
      await until(
        async () => (await processIdentity(pid)) === undefined,
        `${name} ends`,
        WITHIN_SECONDS,
      );

    await start();
    const view = await finished(longRequest);
    assert.equal(view.status, 'completed');
    assert.ok((view.result?.choices[0]?.message.content.length ?? 0) > 100);
    assert.ok(BigInt(view.charged_wei) > 0n);
    assert.equal(await charges(longRequest), 1);
    assert.equal(await text('keys/demo-api-key'), apiKey);
  });

  it('starts each part again that is killed, under a request that survives', async () => {
    for (const name of ['postgresql', 'temporal', ...ROLES]) {
      const pid = (await pids()).get(name) ?? 0;
      const response = await ask({ ...LONG, maxTokens: 60 }, true);
      const id = response.headers.get('x-request-id') ?? '';
      const said = output.length;
      process.kill(pid, 'SIGKILL');
      // Who calls a gateway that dies loses the call, but not the request.
      const answer = response.text().catch((error: unknown) => String(error));
      await until(
        () => output.slice(said).includes(`  ${name}\n`),
        `${name} is started again`,
        WITHIN_SECONDS,
      );
      assert.ok(output.slice(said).includes(`${name} ended by itself (signal SIGKILL)`));
      assert.notEqual((await pids()).get(name), pid);
      if (name !== 'gateway') assert.match(await answer, /data: \[DONE\]\s*$/, name);
      await until(async () => (await call('/healthz')).ok, 'the gateway is well', WITHIN_SECONDS);
      assert.equal((await finished(id)).status, 'completed', name);
      assert.equal(await charges(id), 1, name);
    }
  });

  it('ends with its launcher, and starts again as it was', async () => {
    const running = await pids();
    launcher.kill('SIGKILL');
    for (const [name, pid] of running)
      await until(
        async () => (await processIdentity(pid)) === undefined,
        `${name} ends`,
        WITHIN_SECONDS,
      );
    await start();
    assert.equal(await charges(longRequest), 1);
    assert.equal((await finished(longRequest)).status, 'completed');
  });
});

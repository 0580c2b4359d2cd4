import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdir, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from 'pg';
import { choosePlace } from '../../../workers/embedded/postgres-place.ts';
import { processIdentity } from '../../../workers/embedded/os-process.ts';
import { startPostgres, type EmbeddedPostgres } from '../../../workers/embedded/postgres.ts';
import { freePort } from '../../support/servers.ts';
import { gone, kill, launchElsewhere, makeFolder } from './support.ts';

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

/** Any of a server's processes; on Linux only. */
async function childOf(pid: number): Promise<number> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return Number.parseInt(children, 10);
}

describe('embedded PostgreSQL', () => {
  let folder: Awaited<ReturnType<typeof makeFolder>>;
  let dataDir: string;
  let logFile: string;
  let messages: string[];
  const log = (message: string) => void messages.push(message);
  const started: EmbeddedPostgres[] = [];

  async function start(options: { port?: number; dataDir?: string } = {}) {
    const port = options.port ?? (await freePort());
    const server = await startPostgres({ dataDir, logFile, log, ...options, port });
    started.push(server);
    return server;
  }

  beforeEach(async () => {
    messages = [];
    folder = await makeFolder();
    dataDir = join(folder.path, 'postgres');
    logFile = join(folder.path, 'postgres.log');
  });
  afterEach(async () => {
    for (const server of started.splice(0)) await server.stop();
    await folder.remove();
  });

  it('keeps data over a restart, behind a password that only its owner reads', async () => {
    const first = await start();
    await query(first.url, 'CREATE TABLE kept AS SELECT 42 AS answer');
    const settings = await query(
      first.url,
      `SELECT name, setting FROM pg_settings
       WHERE name IN ('fsync', 'synchronous_commit', 'listen_addresses') ORDER BY name`,
    );
    assert.deepEqual(settings, [
      { name: 'fsync', setting: 'on' },
      { name: 'listen_addresses', setting: '127.0.0.1' },
      { name: 'synchronous_commit', setting: 'on' },
    ]);
    const wrong = first.url.replace(/:[^:@]+@/, ':guess@');
    await assert.rejects(query(wrong, 'SELECT 1'), /password authentication failed/);
    assert.equal((await stat(`${dataDir}.password`)).mode & 0o777, 0o600);
    await first.stop();
    assert.equal(await processIdentity(first.pid), undefined);
    const second = await start();
    assert.deepEqual(await query(second.url, 'SELECT answer FROM kept'), [{ answer: 42 }]);
  });

  it('stops the server of a killed start, and keeps what that had committed', async () => {
    const port = await freePort();
    const { launcher, pid } = await launchElsewhere('postgres', { dataDir, port, logFile });
    const password = (await readFile(`${dataDir}.password`, 'utf8')).trim();
    const url = `postgresql://postgres:${password}@127.0.0.1:${port}/parallelix`;
    await query(url, 'CREATE TABLE kept AS SELECT 42 AS answer');
    await kill(launcher);
    assert.notEqual(await processIdentity(pid), undefined);
    const server = await start({ port });
    assert.deepEqual(await query(server.url, 'SELECT answer FROM kept'), [{ answer: 42 }]);
    assert.equal(await processIdentity(pid), undefined);
    assert.match(messages.join('\n'), /left running by an earlier start/);
  });

  it('finds that server by postmaster.pid when its record is lost', async () => {
    const port = await freePort();
    const { launcher, pid } = await launchElsewhere('postgres', { dataDir, port, logFile });
    await kill(launcher);
    await rm(`${dataDir}.server.json`);
    await start({ port });
    assert.equal(await processIdentity(pid), undefined);
  });

  it('leaves a server alone whose launcher still runs', async () => {
    const { url } = await start();
    await assert.rejects(start(), /already runs on .* which still runs.*PLX_DATA_DIR/);
    assert.equal((await query(url, 'SELECT 1')).length, 1);
  });

  it('starts when a dead server left its pid file, and a stranger now has that pid', async () => {
    await (await start()).stop();
    const { account } = await choosePlace(dataDir, log);
    // Of the same account, whose processes PostgreSQL takes for a server that still runs.
    const stranger = spawn('sleep', ['600'], { ...account, cwd: '/' });
    await once(stranger, 'spawn');
    const pidFile = join(dataDir, 'postmaster.pid');
    await writeFile(pidFile, `${stranger.pid}\n${dataDir}\n`);
    if (account.uid !== undefined && account.gid !== undefined)
      await chown(pidFile, account.uid, account.gid);
    await start();
    assert.notEqual(await processIdentity(stranger.pid ?? 0), undefined);
    await kill(stranger);
  });

  for (const torn of ['', 'not a number\n'])
    it(`starts after a power cut left the pid file as ${JSON.stringify(torn)}`, async () => {
      await (await start()).stop();
      await writeFile(join(dataDir, 'postmaster.pid'), torn);
      await writeFile(`${dataDir}.server.json`, torn);
      await start();
    });

  it('ends the children of a killed server before the next one starts', async function () {
    if (process.platform !== 'linux') this.skip();
    const first = await start();
    const [row] = await query(first.url, 'SELECT 1 AS one');
    assert.deepEqual(row, { one: 1 });
    const child = await childOf(first.pid);
    // A suspended one doesn't notice that its server is gone.
    process.kill(child, 'SIGSTOP');
    process.kill(first.pid, 'SIGKILL');
    assert.equal(await gone(first.pid), true);
    assert.notEqual(await processIdentity(child), undefined);
    await start();
    assert.equal(await processIdentity(child), undefined);
    assert.match(messages.join('\n'), /A child of a killed PostgreSQL still runs/);
  });

  it('starts anew when the first initialisation was killed half way', async () => {
    await mkdir(join(`${dataDir}.initialising`, 'data', 'base'), { recursive: true });
    await writeFile(join(`${dataDir}.initialising`, 'data', 'PG_VERSION'), '18\n');
    await start();
    assert.equal((await readdir(folder.path)).includes('postgres.initialising'), false);
  });

  it('names the port that is in use before it makes anything', async () => {
    const { url } = await start();
    const other = join(folder.path, 'other');
    await assert.rejects(start({ port: Number(new URL(url).port), dataDir: other }), {
      message: /^Port \d+ \(PostgreSQL\) is in use\. .* set PLX_POSTGRES_PORT\.$/,
    });
    assert.equal((await readdir(folder.path)).includes('other'), false);
  });

  it('refuses data whose password is gone, and data of another version', async () => {
    await (await start()).stop();
    await writeFile(join(dataDir, 'PG_VERSION'), '12\n');
    await assert.rejects(start(), /made by PostgreSQL 12, but this is 18/);
    await writeFile(join(dataDir, 'PG_VERSION'), '18\n');
    await rm(`${dataDir}.password`);
    await assert.rejects(start(), /password file .* is gone.*--reset/);
  });

  it("shows the server's own words when it can't start", async () => {
    await (await start()).stop();
    await writeFile(join(dataDir, 'postgresql.conf'), 'no_such_setting = 1\n');
    await assert.rejects(start(), /PostgreSQL ended \(exit code 1\)\. .*no_such_setting/s);
  });

  it("moves what root's helper account can't reach", async function () {
    if (process.getuid?.() !== 0) this.skip();
    const hidden = join(folder.path, 'hidden');
    const shared = join(folder.path, 'shared');
    await mkdir(hidden);
    await chmod(hidden, 0o700);
    const place = await choosePlace(join(hidden, 'postgres'), log, shared);
    assert.equal(place.isMoved, true);
    assert.equal(place.dataDir.startsWith(shared), true);
    assert.match(messages.join('\n'), /can't reach .*hidden/);
  });
});

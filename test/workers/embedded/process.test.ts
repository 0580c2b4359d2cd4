import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { processIdentity } from '../../../workers/embedded/os-process.ts';
import { assertPortFree } from '../../../workers/embedded/ports.ts';
import { recordOf } from '../../../workers/embedded/process-record.ts';
import { spawnRole, stopLeftoverRoles } from '../../../workers/embedded/process.ts';
import { freePort } from '../../support/servers.ts';
import { gone, kill, launchElsewhere, makeFolder } from './support.ts';

const entry = fileURLToPath(new URL('./fixtures/role.ts', import.meta.url));
const diesAtOnce = fileURLToPath(new URL('./fixtures/dies-at-once.mjs', import.meta.url));

describe('embedded roles', () => {
  let folder: Awaited<ReturnType<typeof makeFolder>>;
  let logFile: string;
  before(async () => {
    folder = await makeFolder();
    logFile = join(folder.path, 'logs', 'role.log');
  });
  after(() => folder.remove());

  it('answers what the role announced, and logs the rest', async () => {
    const role = await spawnRole({ name: 'role', entry, env: { MODE: 'runs' }, logFile });
    try {
      assert.deepEqual(role.ready, { ready: true, port: 1234, MODE: 'runs' });
    } finally {
      await role.stop();
    }
    assert.match(await readFile(logFile, 'utf8'), /an ordinary line/);
    assert.equal(await gone(role.pid), true);
  });

  it('gives a role its own environment only', async () => {
    process.env['SECRET'] = 'of the parent';
    const role = await spawnRole({ name: 'role', entry, env: {}, logFile });
    delete process.env['SECRET'];
    await role.stop();
    assert.equal(role.ready['SECRET'], undefined);
  });

  it('shows the last log lines of a role that ends before it is ready', async () => {
    await assert.rejects(spawnRole({ name: 'role', entry, env: { MODE: 'fails' }, logFile }), {
      message: /^The role did not start \(exit code 3\)\. Last lines of .*the coffee is out/s,
    });
  });

  it('gives up on a role that is never ready, and ends it', async () => {
    const options = { name: 'role', entry, env: { MODE: 'slow' }, logFile, readyWithinMs: 800 };
    await assert.rejects(spawnRole(options), /did not start \(not ready in 0\.8 s\)/);
  });

  it('reports a role that ends by itself, but not one that was stopped', async () => {
    const reasons: string[] = [];
    const onExit = (reason: string) => void reasons.push(reason);
    const crashing = { name: 'role', entry, env: { MODE: 'crashes' }, logFile, onExit };
    const crashed = await spawnRole(crashing);
    assert.equal(await gone(crashed.pid), true);
    const stopped = await spawnRole({ ...crashing, env: {} });
    await stopped.stop();
    assert.deepEqual(reasons, ['exit code 4']);
  });

  it('kills a role that ignores SIGTERM', async () => {
    const stubborn = { name: 'role', entry, env: { MODE: 'stubborn' }, logFile };
    const role = await spawnRole({ ...stubborn, stopWithinMs: 1_000 });
    const startedAt = Date.now();
    await role.stop();
    assert.ok(Date.now() - startedAt >= 1_000);
    assert.equal(await gone(role.pid), true);
  });

  for (const signal of ['SIGTERM', 'SIGKILL'] as const)
    it(`lets no role outlive a parent ended by ${signal}`, async () => {
      const { launcher, pid } = await launchElsewhere('role', {
        name: 'role',
        entry,
        env: {},
        logFile,
      });
      assert.notEqual(await processIdentity(pid), undefined);
      if (signal === 'SIGKILL') await kill(launcher);
      else {
        launcher.kill(signal);
        await once(launcher, 'exit');
      }
      assert.equal(await gone(pid), true);
    });

  it('ends a role whose parent died before the role ran its first line', async () => {
    const directory = await makeFolder();
    const script = join(directory.path, 'pid');
    const parent = spawn(process.execPath, [diesAtOnce, script, entry]);
    await once(parent, 'exit');
    const pid = Number(await readFile(script, 'utf8'));
    assert.ok(pid > 0);
    assert.equal(await gone(pid), true);
    await directory.remove();
  });

  it('stops roles that were left running, even suspended ones, by their records', async () => {
    const recordFile = join(folder.path, 'records', 'role.json');
    const role = await spawnRole({ name: 'role', entry, env: {}, logFile, recordFile });
    process.kill(role.pid, 'SIGSTOP');
    const messages: string[] = [];
    await stopLeftoverRoles(dirname(recordFile), (message) => messages.push(message));
    assert.equal(await processIdentity(role.pid), undefined);
    assert.deepEqual(messages, [
      `role was left running by an earlier start (process ${role.pid}): stopping it`,
    ]);
  });

  it('never stops a stranger for a role, and takes no harm from a torn record', async () => {
    const stranger = spawn('sleep', ['600']);
    await once(stranger, 'spawn');
    const record = await recordOf(stranger.pid ?? 0);
    const directory = await makeFolder();
    const write = (name: string, text: string) => writeFile(join(directory.path, name), text);
    await write('a.json', JSON.stringify({ ...record, identity: 'another time' }));
    await write('b.json', JSON.stringify({ ...record, command: 'another command ' }));
    await write('c.json', `{"pid":${record.pid},`);
    await stopLeftoverRoles(directory.path, () => undefined);
    assert.notEqual(await processIdentity(record.pid), undefined);
    assert.deepEqual(await readdir(directory.path), []);
    await kill(stranger);
    await directory.remove();
  });

  it('gives up starting when it is told to', async () => {
    const stop = new AbortController();
    const options = { name: 'role', entry, env: { MODE: 'slow' }, logFile, signal: stop.signal };
    const starting = spawnRole(options);
    stop.abort(new Error('enough'));
    await assert.rejects(starting, /enough/);
  });
});

describe('assertPortFree', () => {
  it('accepts a free port and frees it again', async () => {
    const port = await freePort();
    await assertPortFree(port, 'gateway', 'PLX_GATEWAY_PORT');
    await assertPortFree(port, 'gateway', 'PLX_GATEWAY_PORT');
  });

  it('says who wants a port that is in use, and what to set', async () => {
    const port = await freePort();
    const server = createServer().listen(port, '127.0.0.1');
    await once(server, 'listening');
    await assert.rejects(assertPortFree(port, 'UI', 'PLX_TEMPORAL_UI_PORT'), {
      message: `Port ${port} (UI) is in use. Stop what uses it or set PLX_TEMPORAL_UI_PORT.`,
    });
    server.close();
  });
});

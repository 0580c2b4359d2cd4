import assert from 'node:assert/strict';
import { access, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { openDataDir } from '../../../workers/embedded/data-dir.ts';
import { processIdentity } from '../../../workers/embedded/os-process.ts';
import { startPostgres } from '../../../workers/embedded/postgres.ts';
import { freePort } from '../../support/servers.ts';
import { kill, launchElsewhere, makeFolder } from './support.ts';

/** On a machine without PostgreSQL's programs, and where no account can be looked up or made. */
async function withoutPostgres<T>(work: () => Promise<T>): Promise<T> {
  const arch = Object.getOwnPropertyDescriptor(process, 'arch') ?? {};
  const { DATABASE_URL: url, PATH: path } = process.env;
  Object.defineProperty(process, 'arch', { ...arch, value: 'vax' });
  Object.assign(process.env, { DATABASE_URL: 'postgresql://db.example/parallelix', PATH: '' });
  try {
    return await work();
  } finally {
    Object.defineProperty(process, 'arch', arch);
    process.env['PATH'] = path;
    if (url === undefined) delete process.env['DATABASE_URL'];
    else process.env['DATABASE_URL'] = url;
  }
}

describe('data directory of a network with a database elsewhere', () => {
  let folder: Awaited<ReturnType<typeof makeFolder>>;
  let messages: string[];
  const log = (message: string) => void messages.push(message);

  beforeEach(async function () {
    messages = [];
    folder = await makeFolder();
    // Elsewhere processes are looked at with a program of the PATH.
    if (process.platform !== 'linux') this.skip();
  });
  afterEach(() => folder.remove());

  for (const reset of [false, true])
    it(`needs no programs and no account${reset ? ' for a reset' : ''}`, async () => {
      await withoutPostgres(async () => {
        // That this is such a machine.
        const dataDir = join(folder.path, 'probe', 'postgres');
        const server = { dataDir, port: 1, logFile: join(folder.path, 'log'), log };
        await assert.rejects(startPostgres(server), /No PostgreSQL could be found/);
        const opened = await openDataDir(join(folder.path, 'data'), { log, reset });
        await opened.close();
      });
      assert.deepEqual(await readdir(join(folder.path, 'data')), ['run']);
      assert.doesNotMatch(messages.join(), /PostgreSQL|account/);
    });

  it('still stops the embedded server of a killed start', async () => {
    const dataDir = join(folder.path, 'postgres');
    const options = { dataDir, port: await freePort(), logFile: join(folder.path, 'log') };
    const { launcher, pid } = await launchElsewhere('postgres', options);
    await kill(launcher);
    assert.notEqual(await processIdentity(pid), undefined);
    const opened = await withoutPostgres(() => openDataDir(folder.path, { log, reset: false }));
    await opened.close();
    assert.equal(await processIdentity(pid), undefined);
    await assert.rejects(access(`${dataDir}.server.json`), /ENOENT/);
  });

  for (const kind of ['postgres', 'temporal'] as const)
    it(`finds a ${kind} server that was started, but not yet recorded`, async () => {
      const [port, uiPort] = [await freePort(), await freePort()];
      const files =
        kind === 'postgres'
          ? { data: join(folder.path, 'postgres'), record: 'postgres.server.json' }
          : {
              data: join(folder.path, 'temporal', 'temporal.db'),
              record: 'temporal/temporal.db.server.json',
            };
      const { launcher, pid } = await launchElsewhere(kind, {
        cliPath: process.env['TEMPORAL_CLI_PATH'],
        dataDir: files.data,
        dbFile: files.data,
        logFile: join(folder.path, 'log'),
        port,
        uiPort,
      });
      await kill(launcher);
      await rm(join(folder.path, files.record));
      await rm(join(files.data, 'postmaster.pid'), { force: true }).catch(() => undefined);
      const opened = await openDataDir(folder.path, { log, reset: false });
      await opened.close();
      assert.equal(await processIdentity(pid), undefined);
      assert.match(messages.join(), /was left running by an earlier start/);
    });
});

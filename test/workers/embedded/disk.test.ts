import assert from 'node:assert/strict';
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDataDir } from '../../../workers/embedded/data-dir.ts';
import {
  assertRoom,
  explained,
  prepareDataDir,
  watchDisk,
} from '../../../workers/embedded/disk.ts';
import { mountDisk, unmount } from '../../support/small-disk.ts';
import { makeFolder } from './support.ts';

const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;

/** Runs work as another user, as far as files are concerned. */
async function asNobody<T>(work: () => Promise<T>): Promise<T> {
  process.seteuid?.(NOBODY);
  try {
    return await work();
  } finally {
    process.seteuid?.(0);
  }
}

describe('data directory', () => {
  let folder: Awaited<ReturnType<typeof makeFolder>>;
  let dataDir: string;
  let mounted: string[];
  const log = () => undefined;

  beforeEach(async () => {
    folder = await makeFolder();
    dataDir = join(folder.path, 'data');
    mounted = [];
  });
  afterEach(async () => {
    for (const path of mounted) await unmount(path);
    await folder.remove();
  });

  it('is made, with its parents, and may be there already', async () => {
    await prepareDataDir(join(dataDir, 'deeper'));
    await prepareDataDir(join(dataDir, 'deeper'));
  });

  it('says how much room there is and how much is needed', async () => {
    await mkdir(dataDir);
    await assertRoom(dataDir, 1);
    await assert.rejects(assertRoom(dataDir, 2 ** 60), (error: Error) => {
      assert.ok(error.message.includes(`The disk of ${dataDir} has `));
      assert.match(error.message, /\d+ MiB free, but at least 1099511627776 MiB are needed/);
      assert.match(error.message, /--reset .*PLX_DATA_DIR/);
      return true;
    });
  });

  it('is refused on too small a disk, and says so at run time', async function () {
    await mkdir(dataDir);
    if (!(await mountDisk(dataDir, 4))) this.skip();
    mounted.push(dataDir);
    await assert.rejects(prepareDataDir(dataDir), /has [34] MiB free, but at least 192 MiB/);
    const said: string[] = [];
    const unwatch = watchDisk(dataDir, (message) => said.push(message), 10);
    while (said.length === 0) await sleep(5);
    unwatch();
    assert.match(said[0] ?? '', /is nearly full \([34] MiB free\).*PLX_DATA_DIR/);
  });

  it('is refused on a full disk, where --reset still deletes', async function () {
    await mkdir(dataDir);
    if (!(await mountDisk(dataDir, 4))) this.skip();
    mounted.push(dataDir);
    await mkdir(join(dataDir, 'keys'));
    const fill = () => writeFile(join(dataDir, 'fill'), Buffer.alloc(8 * 1024 * 1024));
    await assert.rejects(explained(dataDir, fill), /The disk of .*data is full \(0 MiB free\)/);
    await assert.rejects(openDataDir(dataDir, { log, reset: false }), /full|MiB free/);
    await assert.rejects(openDataDir(dataDir, { log, reset: true }), /has [34] MiB free/);
  });

  it('is refused when it is read-only or another user', async function () {
    if (!isRoot) this.skip();
    await mkdir(dataDir);
    await assert.rejects(
      asNobody(() => prepareDataDir(dataDir)),
      /data can't be written by the user with id 65534 \(EACCES.*Make it writable.*PLX_DATA_DIR/,
    );
    await assert.rejects(
      asNobody(() => prepareDataDir(join(dataDir, 'new'))),
      /can't be written by the user with id 65534/,
    );
  });

  it('is refused to another user than the one who made it', async function () {
    if (!isRoot) this.skip();
    const keys = join(dataDir, 'keys');
    await mkdir(keys, { recursive: true });
    await chmod(dataDir, 0o777);
    await assert.rejects(
      asNobody(() => prepareDataDir(dataDir)),
      /was made by root, but this is the user with id 65534\. Start as that user.*chown -R/,
    );
    await chown(keys, NOBODY, NOBODY);
    await assert.rejects(
      prepareDataDir(dataDir),
      /made by the user with id 65534, but this is root/,
    );
  });

  it('is refused when its path is a file', async () => {
    await writeFile(dataDir, '');
    await assert.rejects(prepareDataDir(dataDir), /can't be written .*(EEXIST|ENOTDIR)/);
  });

  it('is emptied by a reset, and belongs to one network', async () => {
    const opened = await openDataDir(dataDir, { log, reset: false });
    await writeFile(join(dataDir, 'old'), 'data');
    await assert.rejects(openDataDir(dataDir, { log, reset: true }), /A network already runs on/);
    await opened.close();
    const again = await openDataDir(dataDir, { log, reset: true });
    await assert.rejects(chmod(join(dataDir, 'old'), 0o600), /ENOENT/);
    await again.close();
  });
});

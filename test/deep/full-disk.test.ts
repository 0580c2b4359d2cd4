import assert from 'node:assert/strict';
import { chmod, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LaunchedNetwork, until } from '../support/launched-network.ts';
import { mountDisk, unmount } from '../support/small-disk.ts';

/** Room for a new network, with what its first requests take. */
const DISK_MIB = 400;
const CHUNK_BYTES = 1024 * 1024;
/** How long the network meets requests with a full disk. */
const FULL_MS = 10_000;

/** Writes until nothing more fits. */
async function fill(path: string): Promise<void> {
  const file = await open(path, 'w');
  try {
    for (;;) await file.write(Buffer.alloc(CHUNK_BYTES));
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
  } finally {
    await file.close();
  }
}

/** `npm start` on a disk that fills up while it runs. */
describe('full disk', function () {
  this.timeout(300_000);
  let directory: string;
  let network: LaunchedNetwork | undefined;
  let isMounted = false;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plx-full-disk-'));
    await chmod(directory, 0o755);
    isMounted = await mountDisk(directory, DISK_MIB);
  });
  after(async () => {
    await network?.stop();
    if (isMounted) await unmount(directory);
    await rm(directory, { recursive: true, force: true });
  });

  it('is said once, is no reason to end, and is over once there is room', async function () {
    if (!isMounted) {
      if (this.test) this.test.title += ' (only root may mount a small disk, on Linux)';
      this.skip();
    }
    const running = await LaunchedNetwork.create(directory);
    network = running;
    await running.start();
    const filler = join(directory, 'filler');
    await fill(filler);
    const count = (text: RegExp) => [...running.output.matchAll(text)].length;
    const isFull = /The disk of \S+ is nearly full \(0 MiB free\): make room there/g;
    const hasRoom = /The disk of \S+ has room again\./g;
    await until(() => count(isFull) > 0, 'nothing was said of the full disk');
    // It may fail, meet a part that is just being started again, or wait for room.
    const asked = running
      .ask(4)
      .then(({ response }) => response.text())
      .catch(() => '');
    await Promise.race([asked, sleep(FULL_MS)]);
    assert.equal(count(hasRoom), 0);

    await rm(filler);
    await until(() => count(hasRoom) > 0, 'nothing was said of the room');
    // Parts may have been started again meanwhile, the gateway too.
    await until(() => running.isWell(), 'the gateway is not well');
    const { id, response: answer } = await running.ask(8);
    assert.match(await answer.text(), /data: \[DONE\]\s*$/);
    await running.assertCompletedOnce(id);
    // Whatever became of it, it has ended.
    await asked;
    assert.equal(count(isFull), 1);
    assert.equal(count(hasRoom), 1);
    assert.ok(running.isRunning());
  });
});

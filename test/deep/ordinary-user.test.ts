import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chown, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LaunchedNetwork, untilGone } from '../support/launched-network.ts';

/** Long enough to be running while everything is killed. */
const LONG_TOKENS = 300;
const NOBODY = 65_534;

/** What root's tests can't show: PostgreSQL runs under another account then. */
describe('recovery of an ordinary user', function () {
  this.timeout(300_000);
  let directory: string | undefined;
  let network: LaunchedNetwork | undefined;

  after(async () => {
    await network?.stop();
    if (directory !== undefined) await rm(directory, { recursive: true, force: true });
  });

  it('completes a request once after everything was killed', async function () {
    const reason = whyNotNobody();
    if (reason !== undefined) {
      // Shown in the list.
      if (this.test) this.test.title += ` (${reason})`;
      this.skip();
    }
    // Compiled beforehand, since this user may write nothing into the checkout.
    const compiled = spawnSync(process.execPath, ['bootstrap/sim-trust.mjs', '--help'], {
      cwd: join(import.meta.dirname, '../..'),
      encoding: 'utf8',
    });
    assert.equal(compiled.status, 0, compiled.stderr);
    directory = await mkdtemp(join(tmpdir(), 'plx-recovery-user-'));
    const home = join(directory, 'home');
    await mkdir(home);
    for (const path of [directory, home]) await chown(path, NOBODY, NOBODY);
    const user = { uid: NOBODY, gid: NOBODY, home };
    network = await LaunchedNetwork.create(join(directory, 'data'), user);
    await network.start();
    const id = await network.askAndHear(LONG_TOKENS);
    const killed = await network.pids();
    for (const pid of killed.values()) process.kill(pid, 'SIGKILL');
    for (const [name, pid] of killed) await untilGone(name, pid);
    await network.start();
    await network.assertCompletedOnce(id);
  });
});

/** @returns why no other user can run this checkout, for people; nothing if one can. */
function whyNotNobody(): string | undefined {
  if (process.getuid?.() !== 0) return 'test/deep/recovery.test.ts ran as an ordinary user';
  const root = join(import.meta.dirname, '../..');
  const { TEMPORAL_CLI_PATH: temporal = '', MODEL_PATH: model = '' } = process.env;
  const account = { uid: NOBODY, gid: NOBODY, cwd: '/' };
  for (const path of [process.execPath, root, join(root, 'node_modules'), temporal, model])
    if (spawnSync('/bin/sh', ['-c', 'test -r "$1"', 'sh', path], account).status !== 0)
      return `user ${NOBODY} can't read ${path}`;
  return undefined;
}

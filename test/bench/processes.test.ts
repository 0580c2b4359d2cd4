import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpuSeconds } from '../../bench/processes.ts';

const BURN_MS = 600;

describe('bench/processes', () => {
  it('counts the CPU time of a process, its children and those that have ended', async () => {
    const before = await cpuSeconds({ self: process.pid });
    const burn = `const until = Date.now() + ${BURN_MS}; while (Date.now() < until);`;
    const child = spawn(process.execPath, ['-e', `${burn} setInterval(() => {}, 1000)`]);
    const pid = child.pid ?? 0;
    try {
      const untilMs = Date.now() + 30_000;
      let used = 0;
      // However busy the machine is, it gets its share at some time.
      while (used < 0.1 && Date.now() < untilMs) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        used = (await cpuSeconds({ child: pid })).child;
      }
      assert.ok(used >= 0.1, `${used} s`);
      const during = await cpuSeconds({ self: process.pid });
      assert.ok(during.self - before.self >= used, 'the parent includes the child');
    } finally {
      child.kill('SIGKILL');
      await once(child, 'close');
    }
    const after = await cpuSeconds({ self: process.pid });
    if (process.platform === 'linux')
      assert.ok(after.self - before.self >= 0.1, 'and still does when it has ended');
  });

  it('says nothing was used by a process that is not there', async () => {
    assert.deepEqual(await cpuSeconds({ nobody: 2 ** 30 }), { nobody: 0 });
  });
});

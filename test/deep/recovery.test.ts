import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { processIdentity } from '../../workers/embedded/os-process.ts';
import { LaunchedNetwork, ROLES, until, untilGone } from '../support/launched-network.ts';

/** Long enough to be running while everything is killed. */
const LONG_TOKENS = 300;

/** `npm start` against `kill -9`, with the real servers and the real model. */
describe('recovery', function () {
  this.timeout(300_000);
  let directory: string;
  let network: LaunchedNetwork;
  let longRequest: string;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plx-recovery-'));
    await chmod(directory, 0o755);
    network = await LaunchedNetwork.create(directory);
    await network.start();
  });
  after(async () => {
    await network.stop();
    await rm(directory, { recursive: true, force: true });
  });

  it('completes a running request once after everything was killed', async () => {
    const apiKey = await network.text('keys/demo-api-key');
    longRequest = await network.askAndHear(LONG_TOKENS);
    const killed = await network.pids();
    for (const pid of killed.values()) process.kill(pid, 'SIGKILL');
    for (const [name, pid] of killed) await untilGone(name, pid);

    await network.start();
    assert.ok((await network.assertCompletedOnce(longRequest)).length > 100);
    assert.equal(await network.text('keys/demo-api-key'), apiKey);
  });

  it('starts each part again that is killed, under a request that survives', async () => {
    for (const name of ['postgresql', 'temporal', ...ROLES]) {
      const pid = (await network.pids()).get(name) ?? 0;
      const { id, response } = await network.ask(60);
      const said = network.output.length;
      process.kill(pid, 'SIGKILL');
      // Who calls a gateway that dies loses the call, but not the request.
      const answer = response.text().catch((error: unknown) => String(error));
      const isUp = () => network.output.slice(said).includes(`  ${name}\n`);
      await until(isUp, `${name} was not started again`);
      const text = `${name} ended by itself (signal SIGKILL)`;
      assert.ok(network.output.slice(said).includes(text));
      assert.notEqual((await network.pids()).get(name), pid);
      if (name !== 'gateway') assert.match(await answer, /data: \[DONE\]\s*$/, name);
      await until(() => network.isWell(), 'the gateway is not well');
      await network.assertCompletedOnce(id, name);
    }
  });

  it('stops what a killed network process left, and completes its request once', async () => {
    const id = await network.askAndHear(LONG_TOKENS);
    const running = await network.pids();
    const pid = (name: string) => running.get(name) ?? 0;
    process.kill(pid('network'), 'SIGKILL');
    // Roles follow it by themselves; the servers can't.
    for (const name of ['network', 'launcher']) await untilGone(name, pid(name));
    for (const name of ['postgresql', 'temporal'])
      assert.notEqual(await processIdentity(pid(name)), undefined, name);
    assert.match(network.output, /The network was ended by SIGKILL\. `npm start` stops what/);

    await network.start();
    for (const name of ['PostgreSQL', 'Temporal']) {
      const text = `process ${pid(name.toLowerCase())}`;
      assert.ok(network.output.includes(`${name} was left running by an earlier start (${text})`));
    }
    for (const [name, old] of running)
      assert.equal(await processIdentity(old), undefined, `${name} lives`);
    assert.ok((await network.assertCompletedOnce(id)).length > 100);
  });

  it('ends with its launcher, and starts again as it was', async () => {
    const running = await network.pids();
    process.kill(running.get('launcher') ?? 0, 'SIGKILL');
    for (const [name, pid] of running) await untilGone(name, pid);
    await network.start();
    await network.assertCompletedOnce(longRequest);
  });
});

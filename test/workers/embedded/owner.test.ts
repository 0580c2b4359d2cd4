import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { processIdentity } from '../../../workers/embedded/os-process.ts';
import { takeOwnership } from '../../../workers/embedded/owner.ts';
import { recordOf, type ProcessRecord } from '../../../workers/embedded/process-record.ts';
import { kill, makeFolder } from './support.ts';

describe('takeOwnership', () => {
  let folder: Awaited<ReturnType<typeof makeFolder>>;
  let messages: string[];
  const children: ChildProcess[] = [];

  beforeEach(async () => {
    messages = [];
    folder = await makeFolder();
  });
  afterEach(async () => {
    for (const child of children.splice(0))
      if (child.exitCode === null && child.signalCode === null) await kill(child);
    await folder.remove();
  });

  const take = () => takeOwnership(folder.path, '/data', (message) => messages.push(message));

  /** A process that does nothing, as others may see it. */
  async function sleeper(): Promise<{ child: ChildProcess; record: ProcessRecord }> {
    const child = spawn('sleep', ['600']);
    children.push(child);
    await once(child, 'spawn');
    return { child, record: await recordOf(child.pid ?? 0) };
  }

  async function writeOwner(number: number, owner: object): Promise<void> {
    const startedAt = '2026-01-02T03:04:05.000Z';
    const record = { startedAt, hasStopped: false, ...owner };
    await writeFile(join(folder.path, `network.${number}.json`), JSON.stringify(record));
  }

  it('tells a second start who runs, since when and where', async () => {
    const { record } = await sleeper();
    await writeOwner(1, { ...record, gatewayUrl: 'http://127.0.0.1:8420' });
    await assert.rejects(take(), (error: Error) => {
      assert.match(error.message, /^A network already runs on \/data: process \d+, since 2026-01-/);
      assert.match(error.message, /It is at http:\/\/127\.0\.0\.1:8420\. Stop it .*PLX_DATA_DIR/);
      assert.ok(error.message.includes(`process ${record.pid},`));
      return true;
    });
    assert.notEqual(await processIdentity(record.pid), undefined);
  });

  it('gives way after a release, and after the death of the owner', async () => {
    const first = await take();
    await assert.rejects(take(), /already runs/);
    await first.release();
    await take();
    const { child, record } = await sleeper();
    await writeOwner(7, record);
    await kill(child);
    await take();
    assert.deepEqual(await readdir(folder.path), ['network.8.json']);
  });

  it('lets one of many win that find a dead owner at the same moment', async () => {
    const { child, record } = await sleeper();
    await writeOwner(1, record);
    await kill(child);
    const results = await Promise.allSettled(Array.from({ length: 8 }, take));
    assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
  });

  it('does not take a stranger with the same process id for the owner', async () => {
    const { record } = await sleeper();
    await writeOwner(1, { ...record, identity: 'another time' });
    await writeOwner(2, { ...record, command: 'another command ' });
    await take();
    assert.notEqual(await processIdentity(record.pid), undefined);
  });

  it('is not put off by a torn record', async () => {
    for (const [index, text] of ['', '{"pid":', '[]', '{"pid":1}'].entries()) {
      await writeFile(join(folder.path, `network.${index * 2 + 1}.json`), text);
      await (await take()).release();
    }
    assert.deepEqual(await readdir(folder.path), ['network.8.json']);
  });

  it('stops a network whose launcher is gone, even a suspended one', async () => {
    const launcher = await sleeper();
    await kill(launcher.child);
    const { child, record } = await sleeper();
    await writeOwner(1, { ...record, launcher: launcher.record });
    child.kill('SIGSTOP');
    await take();
    assert.equal(await processIdentity(record.pid), undefined);
    assert.match(messages.join(), /lost its launcher/);
  });
});

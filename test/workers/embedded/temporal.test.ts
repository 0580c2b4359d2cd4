import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Connection, Client as TemporalClient } from '@temporalio/client';
import { SearchAttributeType, defineSearchAttributeKey } from '@temporalio/common';
import { processIdentity } from '../../../workers/embedded/os-process.ts';
import { startTemporal, type EmbeddedTemporal } from '../../../workers/embedded/temporal.ts';
import { freePort } from '../../support/servers.ts';
import { gone, kill, launchElsewhere, makeFolder } from './support.ts';

const cliPath = process.env['TEMPORAL_CLI_PATH'] ?? '.tools/temporal/1.9.1/temporal';
const plxNode = defineSearchAttributeKey('plxNode', SearchAttributeType.KEYWORD);

async function startWorkflow(address: string, workflowId: string): Promise<void> {
  const connection = await Connection.connect({ address });
  try {
    await new TemporalClient({ connection }).workflow.start('waits', {
      workflowId,
      taskQueue: 'nobody',
      typedSearchAttributes: [{ key: plxNode, value: 'nd_1' }],
    });
  } finally {
    await connection.close();
  }
}

async function nodeOf(address: string, workflowId: string): Promise<unknown> {
  const connection = await Connection.connect({ address });
  try {
    const handle = new TemporalClient({ connection }).workflow.getHandle(workflowId);
    return (await handle.describe()).typedSearchAttributes.get(plxNode);
  } finally {
    await connection.close();
  }
}

describe('embedded Temporal', () => {
  let folder: Awaited<ReturnType<typeof makeFolder>>;
  let ports: { port: number; uiPort: number };
  let messages: string[];
  const log = (message: string) => void messages.push(message);
  const started: EmbeddedTemporal[] = [];

  const options = () => ({
    ...ports,
    cliPath,
    dbFile: join(folder.path, 'db', 'temporal.db'),
    logFile: join(folder.path, 'temporal.log'),
  });
  async function start(changes: object = {}) {
    const server = await startTemporal({ ...options(), log, ...changes });
    started.push(server);
    return server;
  }

  beforeEach(async () => {
    messages = [];
    folder = await makeFolder();
    ports = { port: await freePort(), uiPort: await freePort() };
  });
  afterEach(async () => {
    for (const server of started.splice(0)) await server.stop();
    await folder.remove();
  });

  it('takes our search attributes at once, gives a queue one partition, shows its UI', async () => {
    const { address, uiUrl } = await start();
    await startWorkflow(address, 'first');
    const args = ['task-queue', 'list-partition', '--task-queue', 'any', '--address', address];
    const { stdout } = await promisify(execFile)(cliPath, args);
    assert.match(stdout, /\bany\b/);
    assert.doesNotMatch(stdout, /_sys/);
    assert.equal((await fetch(uiUrl)).status, 200);
  });

  it('keeps workflows over an orderly restart', async () => {
    const first = await start();
    await startWorkflow(first.address, 'kept');
    await first.stop();
    assert.equal(await processIdentity(first.pid), undefined);
    const second = await start();
    assert.equal(await nodeOf(second.address, 'kept'), 'nd_1');
  });

  it('keeps workflows when the server is killed', async () => {
    const reasons: string[] = [];
    const onExit = (reason: string) => void reasons.push(reason);
    const first = await start({ onExit });
    await startWorkflow(first.address, 'kept');
    process.kill(first.pid, 'SIGKILL');
    assert.equal(await gone(first.pid), true);
    const second = await start();
    assert.equal(await nodeOf(second.address, 'kept'), 'nd_1');
    assert.deepEqual(reasons, ['signal SIGKILL']);
  });

  it('stops the server of a killed start, and keeps its workflows', async () => {
    const { launcher, pid } = await launchElsewhere('temporal', options());
    await startWorkflow(`127.0.0.1:${ports.port}`, 'kept');
    await kill(launcher);
    const { address } = await start();
    assert.equal(await processIdentity(pid), undefined);
    assert.equal(await nodeOf(address, 'kept'), 'nd_1');
    assert.match(messages.join('\n'), /left running by an earlier start/);
  });

  it('leaves a server alone whose launcher still runs', async () => {
    const { address } = await start();
    await assert.rejects(start(), /Temporal already runs on .* PLX_DATA_DIR/);
    await startWorkflow(address, 'still-there');
  });

  it('names the port of the UI when that is in use', async () => {
    const server = createServer().listen(ports.uiPort, '127.0.0.1');
    await once(server, 'listening');
    await assert.rejects(start(), /^Error: Port \d+ \(Temporal UI\) is in use\./);
    server.close();
  });

  it("shows the server's own words when it can't start", async () => {
    const dbFile = join(folder.path, 'a-directory');
    await mkdir(dbFile);
    await assert.rejects(start({ dbFile }), /Temporal ended \(exit code 1\)\. Last lines/);
  });
});

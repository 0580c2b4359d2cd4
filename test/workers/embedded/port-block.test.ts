import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import {
  choosePorts,
  type ChosenPorts,
  type NetworkPorts,
} from '../../../workers/embedded/port-block.ts';
import { isPortFree } from '../../../workers/embedded/ports.ts';
import { freePort } from '../../support/servers.ts';
import { makeFolder } from './support.ts';

describe('choosePorts', () => {
  const chosen: ChosenPorts[] = [];
  const servers: Server[] = [];
  const folders: Awaited<ReturnType<typeof makeFolder>>[] = [];
  let messages: string[];
  let first: number;

  beforeEach(async () => {
    messages = [];
    first = await freeBlocks();
  });
  afterEach(async () => {
    for (const each of chosen.splice(0)) await each.release();
    for (const server of servers.splice(0)) server.close();
    for (const folder of folders.splice(0)) await folder.remove();
  });

  async function checkout(): Promise<string> {
    const folder = await makeFolder();
    folders.push(folder);
    return folder.path;
  }

  async function choose(dataDir: string, set: Partial<NetworkPorts> = {}) {
    const ports = await choosePorts(dataDir, set, (message) => messages.push(message), first);
    chosen.push(ports);
    return ports;
  }

  async function occupy(port: number): Promise<void> {
    const server = createServer().listen(port, '127.0.0.1');
    servers.push(server);
    await once(server, 'listening');
  }

  it('gives the first block, without a word, and remembers it', async () => {
    const dataDir = await checkout();
    const { ports } = await choose(dataDir);
    assert.deepEqual(ports, {
      gateway: first,
      coordinator: first + 1,
      postgres: first + 2,
      temporal: first + 3,
      temporalUi: first + 4,
      edge: first + 5,
    });
    assert.deepEqual(messages, []);
    assert.deepEqual(JSON.parse(await readFile(join(dataDir, 'ports.json'), 'utf8')), {
      block: first,
    });
  });

  it('gives checkouts that start at the same moment different blocks', async () => {
    const all = await Promise.all([1, 2, 3].map(async () => choose(await checkout())));
    const gateways = all.map(({ ports }) => ports.gateway).toSorted((a, b) => a - b);
    assert.deepEqual(gateways, [first, first + 10, first + 20]);
    assert.equal(messages.length, 2);
    assert.match(messages[0] ?? '', /^Ports \d+ to \d+, because those from \d+ are in use$/);
  });

  it('stays with its block over restarts, also when an earlier one is free again', async () => {
    const dataDir = await checkout();
    const other = await choose(await checkout());
    const before = await choose(dataDir);
    assert.equal(before.ports.gateway, first + 10);
    for (const each of [before, other]) await each.release();
    chosen.length = 0;
    assert.equal((await choose(dataDir)).ports.gateway, first + 10);
    assert.match(messages.at(-1) ?? '', /as before$/);
  });

  it('passes over a block with one port that a stranger uses', async () => {
    await occupy(first + 3);
    assert.equal((await choose(await checkout())).ports.gateway, first + 10);
    assert.equal(await isPortFree(first + 9, false), true);
  });

  it('takes ports that are set as they are, and the others from a block without them', async () => {
    const { ports } = await choose(await checkout(), { gateway: first + 2 });
    assert.equal(ports.gateway, first + 2);
    assert.equal(ports.postgres, first + 12);
  });

  it('refuses a set port that is in use, and one that is set twice', async () => {
    const port = await freePort();
    await occupy(port);
    await assert.rejects(choose(await checkout(), { temporal: port }), {
      message: `Port ${port} (Temporal) is in use. Stop what uses it or set PLX_TEMPORAL_PORT.`,
    });
    await assert.rejects(
      choose(await checkout(), { gateway: first, coordinator: first }),
      /PLX_COORDINATOR_PORT and PLX_GATEWAY_PORT are both/,
    );
  });

  it('is not put off by a torn ports.json', async () => {
    const dataDir = await checkout();
    await writeFile(join(dataDir, 'ports.json'), '{"blo');
    assert.equal((await choose(dataDir)).ports.gateway, first);
  });
});

/** The first of three blocks, away from the default ones, of which all ports are free. */
async function freeBlocks(): Promise<number> {
  for (;;) {
    const block = 20_000 + 30 * Math.floor(Math.random() * 400);
    const ports = Array.from({ length: 30 }, (_, index) => block + index);
    const free = await Promise.all(ports.map((port) => isPortFree(port, false)));
    if (free.every(Boolean)) return block;
  }
}

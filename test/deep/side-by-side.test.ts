import assert from 'node:assert/strict';
import { startNetwork, type Network } from '../../workers/embedded/network.ts';
import { makeFolder } from '../workers/embedded/support.ts';

/** As two checkouts do it, each with its own data and no port of its own choice. */
describe('two networks side by side', function () {
  this.timeout(180_000);
  const folders: Awaited<ReturnType<typeof makeFolder>>[] = [];
  const running = new Set<Network>();
  const ended: string[] = [];

  before(async () => {
    folders.push(await makeFolder(), await makeFolder());
  });
  after(async () => {
    for (const network of running) await network.stop();
    for (const folder of folders) await folder.remove();
  });

  async function start(index: number): Promise<Network> {
    const network = await startNetwork({
      dataDir: folders[index]?.path ?? '',
      ports: {},
      temporalCliPath: process.env['TEMPORAL_CLI_PATH'] ?? '',
      modelPath: process.env['MODEL_PATH'] ?? '',
      nodes: [],
      onProgress: () => undefined,
      onExit: (part, reason) => ended.push(`${part}: ${reason}`),
      log: () => undefined,
    });
    running.add(network);
    return network;
  }

  /** Gateway, coordinator, PostgreSQL, Temporal and its UI. */
  const portsOf = (network: Network) =>
    [
      network.gatewayUrl,
      network.coordinatorUrl,
      network.databaseUrl,
      `tcp://${network.temporalAddress}`,
      network.temporalUiUrl,
    ].map((url) => Number(new URL(url).port));

  async function assertServes(network: Network): Promise<void> {
    for (const url of [`${network.gatewayUrl}/healthz`, network.temporalUiUrl])
      assert.equal((await fetch(url)).status, 200, url);
  }

  it('start at the same moment, each on its own block of ports, and keep them', async () => {
    const results = await Promise.allSettled([start(0), start(1)]);
    const [first, second] = results.map((result) => {
      if (result.status === 'rejected') throw result.reason;
      return result.value;
    });
    assert.ok(first && second);
    for (const network of [first, second]) {
      const ports = portsOf(network);
      const [block = 0] = ports;
      assert.equal(block % 10, 0);
      assert.deepEqual(ports, [block, block + 1, block + 2, block + 3, block + 4]);
      await assertServes(network);
    }
    assert.notEqual(first.gatewayUrl, second.gatewayUrl);
    assert.notEqual(first.apiKey, second.apiKey);

    const ports = portsOf(second);
    await second.stop();
    running.delete(second);
    await assertServes(first);
    const again = await start(1);
    assert.deepEqual(portsOf(again), ports);
    await assertServes(again);
    await assertServes(first);
    assert.deepEqual(ended, []);
  });
});

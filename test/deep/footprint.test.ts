import assert from 'node:assert/strict';
import { measureFootprint } from '../../bench/footprint.ts';
import { processIdentity } from '../../workers/embedded/os-process.ts';

const GIB = 1_024 ** 3;
/** What a small machine can spare for a whole network. */
const RSS_BYTES_MAX = 3 * GIB;

describe('bench/footprint', () => {
  it('measures every process of a whole network, which fits, and leaves none', async function () {
    this.timeout(420_000);
    const footprint = await measureFootprint();
    const { perProcess, pssBytes, readySeconds, rssBytes } = footprint;
    const names = new Set(perProcess.map(({ name }) => name));
    const nodes =
      process.platform === 'linux' ? ['node-1', 'node-2', 'node-3', 'node-4'] : ['node'];
    const roles = [
      'coordinator',
      'edge',
      'gateway',
      'launcher',
      'network',
      'postgresql',
      'temporal',
    ];
    assert.deepEqual([...names].toSorted(), [...roles, ...nodes].toSorted());
    const count = (wanted: RegExp) => perProcess.filter(({ name }) => wanted.test(name)).length;
    assert.equal(count(/^node/), 4);
    assert.ok(count(/^postgresql$/) > 3, 'PostgreSQL is several processes');
    assert.equal(
      rssBytes,
      perProcess.reduce((sum, each) => sum + each.rssBytes, 0),
    );
    assert.ok(perProcess.every((each) => each.rssBytes > 0));
    assert.ok(rssBytes > 0.5 * GIB && rssBytes <= RSS_BYTES_MAX, JSON.stringify(footprint));
    if (process.platform === 'linux') assert.ok(pssBytes !== null && pssBytes < rssBytes);
    assert.ok(readySeconds > 0);
    for (const { pid, name } of perProcess)
      assert.equal(await processIdentity(pid), undefined, `${name} still runs`);
  });

  it("fails with the network's own words", async () => {
    await assert.rejects(
      measureFootprint({ env: { MODEL_PATH: '/no/such/model.gguf' } }),
      /The network ended \(exit code 1\).*MODEL_PATH is \/no\/such\/model\.gguf/s,
    );
  });
});

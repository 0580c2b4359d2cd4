import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { UNCHECKED } from '../../bench/commit-policy.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { startTestNode, type TestNode } from '../support/test-node.ts';

/** The shortest that certificates may be. */
const CERTIFICATE_SECONDS = 30;
const LIFETIMES = 2.5;

/** Certificates end, connections with them, and nobody who asks notices. */
describe('nodes/edge-link: renewal', function () {
  this.timeout(180_000);
  let network: Coordination;
  let node: TestNode;
  before(async () => {
    const settings = { PLX_CERTIFICATE_SECONDS: String(CERTIFICATE_SECONDS) };
    network = await startCoordination(1, UNCHECKED, settings);
    node = await startTestNode({
      ...network,
      name: 'renews',
      tier: 1,
      // Each request runs for a second: some are under way at each renewal.
      backend: instantBackend({ pieceMs: 250 }),
    });
  });
  after(async () => {
    await node.stop();
    await network.stop();
  });

  it('goes on with work and connections over several lives of its certificate', async () => {
    const untilMs = Date.now() + LIFETIMES * CERTIFICATE_SECONDS * 1_000;
    const statuses: number[] = [];
    const caller = async () => {
      while (Date.now() < untilMs) {
        const response = await network.chat({
          model: INSTANT_MODEL.id,
          messages: [{ role: 'user', content: 'one two three four' }],
          max_tokens: 16,
        });
        await response.text();
        statuses.push(response.status);
        await sleep(50);
      }
    };
    await Promise.all([caller(), caller()]);
    assert.deepEqual([...new Set(statuses)], [200]);
    assert.ok(statuses.length > 50, String(statuses.length));
    const where = { nodeId: node.keys.nodeId };
    assert.ok((await network.database.nodeCertificate.count({ where })) >= 3);
    // Each was served by the first attempt: no renewal has cost a task.
    assert.equal(await network.database.dispatch.count({ where: { dispatch: { gt: 1 } } }), 0);
  });
});

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { instantBackend } from '../../bench/instant-backend.ts';
import { REMEASURE_SECONDS } from '../../protocol/measure.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { windows } from '../support/presence.ts';
import { isActive, startTestNode, type TestNode } from '../support/test-node.ts';
import { until } from '../support/until.ts';

/** What becomes of nodes that had no work for long: it takes some looks of the sweeper. */
describe('workflows: canary of an active node that is idle', function () {
  this.timeout(120_000);
  let network: Coordination;
  before(async () => {
    network = await startCoordination();
  });
  afterEach(async () => {
    await node.stop();
    await network.database.node.updateMany({ data: { status: 'removed' } });
  });
  after(() => network.stop());

  const read = ({ keys }: TestNode) =>
    network.database.node.findUniqueOrThrow({ where: { id: keys.nodeId } });

  let isHonest = true;
  let node: TestNode;
  beforeEach(async () => {
    isHonest = true;
    node = await startTestNode({
      ...network,
      name: 'idle',
      tier: 1,
      backend: instantBackend(),
      isTrueToItself: true,
      behaviour: async (honest) => {
        const returned = await honest();
        return isHonest ? returned : { ...returned, poe: '0'.repeat(64) };
      },
    });
    await until(() => isActive(network.database, node.keys.nodeId), 'it is active');
    const isOpen = async () => (await windows(network.database, node.keys.nodeId)).length === 1;
    await until(isOpen, 'its uptime counts');
  });

  /** Its one sample was an unlucky one, a while ago. */
  const becomeStale = () =>
    network.database.node.update({
      where: { id: node.keys.nodeId },
      data: {
        measuredTokens: 50,
        measuredSeconds: 500,
        tokensPerSecond: 0.1,
        measuredAt: new Date(Date.now() - REMEASURE_SECONDS * 1_000),
      },
    });

  it('measures it again, and leaves it where it is', async () => {
    await becomeStale();
    await until(async () => (await read(node)).tokensPerSecond > 0.1, 'it is measured again');
    const { status, probe, probeUntil } = await read(node);
    assert.deepEqual([status, probe, probeUntil], ['active', 2, null]);
    await sleep(2_500);
    assert.equal((await read(node)).probe, 2, 'and not once more');
    const [window, ...more] = await windows(network.database, node.keys.nodeId);
    assert.deepEqual([window?.endedAt, more], [null, []]);
  });

  it('has it show again that it can serve, and ends its uptime, if it fails', async () => {
    isHonest = false;
    await becomeStale();
    await until(async () => (await read(node)).probeFailures === 1, 'it failed');
    assert.equal((await read(node)).status, 'probing');
    const isOver = async () =>
      (await windows(network.database, node.keys.nodeId))[0]?.endCode === 'node.probing';
    await until(isOver, 'no uptime counts');
    isHonest = true;
    const isOpen = async () =>
      (await windows(network.database, node.keys.nodeId))[1]?.endedAt === null;
    await until(isOpen, 'its uptime counts again');
  });
});

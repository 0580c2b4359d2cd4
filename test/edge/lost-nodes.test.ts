import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import proto from '@temporalio/proto';
import { generateWrapKey } from '../../crypto/keys.ts';
import { LostNodes } from '../../edge/lost-nodes.ts';
import { Tasks } from '../../edge/tasks.ts';
import { formatNodeId } from '../../protocol/ids.ts';
import { until } from '../support/until.ts';

const { v1: service } = proto.temporal.api.workflowservice;
const nodeId = formatNodeId(randomBytes(32));

/** A node that got tasks here and is gone; what becomes of them. */
function scene(state: { seen: () => boolean | Promise<boolean>; isConnected?: boolean }) {
  const failed: string[] = [];
  const tasks = new Tasks({
    upstream: {
      async call(_method, message) {
        const { taskToken } = service.RespondActivityTaskFailedRequest.decode(message);
        failed.push(Buffer.from(taskToken).toString());
        return Buffer.alloc(0);
      },
      close() {},
    },
    namespace: 'plane',
    ring: [generateWrapKey()],
    log: { warn: () => {}, info: () => {} },
  });
  const lostNodes = new LostNodes({
    tasks,
    pool: { wasSeen: async () => state.seen() },
    isConnected: () => state.isConnected ?? false,
    log: { warn: () => {} },
    comeBackMs: 20,
  });
  const give = (name: string) =>
    tasks.deliver(nodeId, {
      taskToken: Buffer.from(name),
      answer: {},
      startToCloseMs: 60_000,
    });
  return { tasks, lostNodes, failed, give };
}

describe('edge/lost-nodes', () => {
  it('fails what a node got until it was gone', async () => {
    const { lostNodes, failed, give, tasks } = scene({ seen: () => false });
    give('one');
    give('two');
    lostNodes.gone(nodeId);
    await until(() => failed.length === 2, 'both are failed');
    assert.deepEqual(failed.toSorted(), ['one', 'two']);
    assert.ok(!tasks.inFlight.has(nodeId));
  });

  it('leaves a node alone that is connected again, and what it was not asked about', async () => {
    const { lostNodes, failed, give } = scene({ seen: () => false, isConnected: true });
    give('one');
    lostNodes.gone(nodeId);
    await sleep(100);
    assert.deepEqual(failed, []);
  });

  it('goes on looking after one that is elsewhere, while it has something', async () => {
    let looks = 0;
    const { lostNodes, failed, give } = scene({ seen: () => ++looks < 3 });
    give('one');
    lostNodes.gone(nodeId);
    await until(() => failed.length === 1, 'it is lost in the end');
    assert.equal(looks, 3);
  });

  it('stops looking when the work is over, or the edge stops', async () => {
    let looks = 0;
    const { lostNodes, give, tasks, failed } = scene({ seen: () => ++looks > 0 });
    give('one');
    lostNodes.gone(nodeId);
    await until(() => looks > 1, 'it is looked after');
    tasks.inFlight.remove(nodeId, Buffer.from('one'));
    await sleep(60);
    const looked = looks;
    await sleep(60);
    assert.equal(looks, looked);
    give('two');
    lostNodes.gone(nodeId);
    lostNodes.stop();
    await sleep(60);
    assert.deepEqual([looks, failed], [looked, []]);
  });

  it('fails nothing while PostgreSQL is away', async () => {
    const { lostNodes, give, failed } = scene({ seen: () => Promise.reject(new Error('away')) });
    give('one');
    lostNodes.gone(nodeId);
    await sleep(80);
    assert.deepEqual(failed, []);
  });
});

import assert from 'node:assert/strict';
import { instantBackend } from '../../bench/instant-backend.ts';
import { ABORT_MS_MAX, CancelScene, observed } from '../support/cancel-scene.ts';
import { until } from '../support/until.ts';

/** A cancellation while the direct way to the node, or the coordinator itself, is away. */
describe('workflows: a cancellation during an outage', function () {
  this.timeout(120_000);
  let scene: CancelScene;
  before(async () => {
    scene = await CancelScene.start();
  });
  afterEach(() => scene.tidy());
  after(() => scene.network.stop());

  it('reaches a node without a command stream by its heartbeat', async () => {
    const { backend, abortedAtMs } = observed(instantBackend({ pieceMs: 200 }));
    const node = await scene.addNode({ backend, takesCommands: false });
    const before = await scene.balances();
    const answer = scene.ask(false);
    const id = await scene.running();
    await until(() => node.executed() === 1, 'the node has it');
    assert.equal((await scene.cancel(id)).view.status, 'cancelled');
    assert.equal((await answer).status, 499);
    assert.deepEqual(await scene.balances(), before);
    await until(() => abortedAtMs() > 0, 'the node has stopped');
  });

  for (const first of ['return', 'cancellation'] as const)
    it(`blames nobody when both are there at once, the ${first} first`, async () => {
      const mayReturn = new Promise<void>((resolve) => (scene.letGo = resolve));
      const node = await scene.addNode({ behaviour: (honest) => mayReturn.then(() => honest()) });
      const before = await scene.balances();
      const answer = scene.ask(false);
      const id = await scene.running();
      await until(() => node.executed() === 1, 'the node has it');
      await scene.network.killCoordinator();
      const handle = scene.network.client.workflow.getHandle(id);
      const steps = {
        cancellation: () => handle.cancel(),
        async return() {
          scene.letGo();
          const isReturned = async () =>
            ((await handle.fetchHistory()).events ?? []).some(
              (event) => event.activityTaskCompletedEventAttributes,
            );
          await until(isReturned, 'Temporal has the return');
        },
      };
      await steps[first]();
      await steps[first === 'return' ? 'cancellation' : 'return']();
      await scene.network.startCoordinator();
      assert.equal((await scene.network.ended(id)).status, 'cancelled');
      await answer;
      assert.equal(await scene.flags(id), 0);
      assert.equal(await scene.slotOf(id), null);
      assert.deepEqual(await scene.balances(), before);
    });

  it('reaches a node that has connected again to a coordinator that was killed', async () => {
    const { backend, abortedAtMs } = observed(instantBackend({ pieceMs: 60 }));
    const node = await scene.addNode({ backend });
    await scene.network.killCoordinator();
    await until(() => !node.isConnected(), 'it knows that the coordinator is away');
    await scene.network.startCoordinator();
    await until(() => node.isConnected(), 'it is connected again');
    const { pieces, cancelled, paid } = await scene.cancelStream();
    assert.equal(paid, await scene.priceOf(1, pieces));
    const tookMs = Math.round(abortedAtMs() - cancelled.sentAtMs);
    assert.ok(tookMs < ABORT_MS_MAX, `${tookMs} ms`);
  });
});

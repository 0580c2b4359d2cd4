import assert from 'node:assert/strict';
import type { Backend } from '../../nodes/backends/backend.ts';
import { instantBackend } from '../../bench/instant-backend.ts';
import { ABORT_MS_MAX, CancelScene, observed, read } from '../support/cancel-scene.ts';
import { historyOf, record } from '../support/history.ts';
import { until } from '../support/until.ts';

/** What a cancellation does to the work: when the node hears of it, and what is paid. */
describe('workflows: the work of a cancelled request', function () {
  this.timeout(120_000);
  let scene: CancelScene;
  before(async () => {
    scene = await CancelScene.start();
  });
  afterEach(() => scene.tidy());
  after(() => scene.network.stop());

  it('charges a stream for what was streamed, and tells the node at once', async () => {
    const { backend, abortedAtMs } = observed(instantBackend({ pieceMs: 60 }));
    await scene.addNode({ backend });
    await scene.addNode({ tier: 2 });
    const { id, pieces, text, cancelled, paid } = await scene.cancelStream();
    assert.deepEqual([cancelled.status, cancelled.view.status], [200, 'cancelled']);
    assert.equal(cancelled.view.error?.code, 'execute.cancelled');
    assert.equal(cancelled.view.result, null);
    assert.match(text, /execute\.cancelled/);
    assert.ok(pieces >= 3 && pieces < 200, `${pieces} pieces`);
    assert.equal(paid, await scene.priceOf(1, pieces));
    assert.equal(BigInt(cancelled.view.charged_wei), paid);
    assert.equal(await scene.slotOf(id), null);
    assert.deepEqual(await scene.outcomes(id), ['execute.cancelled']);
    const tookMs = Math.round(abortedAtMs() - cancelled.sentAtMs);
    console.log(`      from POST …/cancel to the node's abort: ${tookMs} ms`);
    assert.ok(tookMs < ABORT_MS_MAX, `${tookMs} ms`);
    assert.equal(
      (await scene.cancel(id)).view.charged_wei,
      paid.toString(),
      'again, it is not paid',
    );
    assert.equal(await scene.flags(id), 0);
    await record(await historyOf(scene.network.client, id), 'cancelled-returned');
  });

  it('charges no more than was streamed, whatever the node claims or says later', async () => {
    const honest = instantBackend({ pieceMs: 60 });
    const generate: Backend['generate'] = async (request, onText, signal) => {
      const generation = await honest.generate(request, onText, signal);
      const more = Array.from({ length: 50 }, (_, index) => `word${index} `);
      for (const piece of more) onText(piece);
      const text = generation.text + more.join('');
      return { ...generation, text, tokenIds: null, completionTokens: 199 };
    };
    await scene.addNode({ backend: { ...honest, generate } });
    const { pieces, paid } = await scene.cancelStream();
    assert.ok(pieces < 50, `${pieces} pieces`);
    assert.equal(paid, await scene.priceOf(1, pieces));
  });

  it('charges no more than was proved, however many frames there were', async () => {
    const honest = instantBackend({ pieceMs: 60 });
    const generate: Backend['generate'] = async (...args) => {
      const { tokenIds: _tokenIds, ...generation } = await honest.generate(...args);
      return { ...generation, tokenIds: null, completionTokens: 2 };
    };
    await scene.addNode({ backend: { ...honest, generate } });
    const { pieces, paid } = await scene.cancelStream();
    assert.ok(pieces >= 3);
    assert.equal(paid, await scene.priceOf(1, 2));
  });

  it('charges for what was streamed of an attempt that is late by its own times', async () => {
    const backend = instantBackend({ pieceMs: 60 });
    await scene.addNode({
      backend,
      behaviour: async (honest) => {
        const returned = await honest();
        return { ...returned, finishedAtMs: returned.decryptedAtMs + 3_600_000 };
      },
    });
    const { id, pieces, paid } = await scene.cancelStream();
    assert.ok(pieces >= 3);
    assert.ok(paid >= (await scene.priceOf(1, 3)), `${paid} wei for ${pieces} pieces`);
    assert.equal(await scene.flags(id), 0);
  });

  it('charges who hangs up before cancelling for what was sent until then', async () => {
    const { backend, abortedAtMs } = observed(instantBackend({ pieceMs: 60 }));
    await scene.addNode({ backend });
    const before = await scene.available();
    const hangUp = new AbortController();
    const response = await scene.ask(true, hangUp.signal);
    const id = response.headers.get('x-request-id') ?? assert.fail();
    const { seen, whole } = read(response);
    await until(() => seen.pieces >= 3, 'three pieces of text');
    hangUp.abort();
    await assert.rejects(whole);
    const { view } = await scene.cancel(id);
    assert.equal(view.status, 'cancelled');
    assert.ok(abortedAtMs() > 0);
    const paid = before - (await scene.available());
    assert.ok(
      paid >= (await scene.priceOf(1, seen.pieces)),
      `${paid} wei for ${seen.pieces} pieces`,
    );
    assert.ok(paid < (await scene.priceOf(1, 200)));
  });

  it('is free without a stream, and frees the slot at once', async () => {
    const { backend, abortedAtMs } = observed(instantBackend({ pieceMs: 60 }));
    const node = await scene.addNode({ backend });
    const before = await scene.balances();
    const answer = scene.ask(false);
    const id = await scene.running();
    await until(() => node.executed() === 1, 'the node has it');
    const { view, sentAtMs } = await scene.cancel(id);
    assert.deepEqual([view.status, view.charged_wei], ['cancelled', '0']);
    assert.equal((await answer).status, 499);
    assert.ok(abortedAtMs() - sentAtMs < ABORT_MS_MAX);
    assert.equal(await scene.slotOf(id), null);
    assert.deepEqual(await scene.balances(), before);
  });

  it('does not wait long for a node that says nothing: free, its lease is shortened', async () => {
    const released = new Promise<void>((resolve) => (scene.letGo = resolve));
    const node = await scene.addNode({ behaviour: () => released });
    const before = await scene.balances();
    const answer = scene.ask(false);
    const id = await scene.running();
    await until(() => node.executed() === 1, 'the node has it');
    const leaseBefore = (await scene.slotOf(id))?.leaseUntil?.getTime() ?? 0;
    // Twice at once: they are the same cancellation.
    const [first, second] = await Promise.all([scene.cancel(id), scene.cancel(id)]);
    for (const { status, view } of [first, second])
      assert.deepEqual([status, view.status, view.charged_wei], [200, 'cancelled', '0']);
    assert.ok(first.tookMs > 900 && first.tookMs < 4_000, `${first.tookMs} ms`);
    assert.equal((await answer).status, 499);
    const leaseUntil = (await scene.slotOf(id))?.leaseUntil?.getTime() ?? Infinity;
    assert.ok(leaseUntil < leaseBefore && leaseUntil < Date.now() + 16_000);
    assert.deepEqual(await scene.balances(), before);
  });

  it('writes a bad proof down, and it is free: nobody else is asked', async () => {
    const backend = instantBackend({ pieceMs: 60 });
    await scene.addNode({
      backend,
      behaviour: async (honest) => ({ ...(await honest()), poe: 'f'.repeat(64) }),
    });
    const other = await scene.addNode({ tier: 2 });
    const { id, cancelled, paid } = await scene.cancelStream();
    assert.equal(cancelled.view.status, 'cancelled');
    assert.equal(cancelled.view.error?.code, 'execute.cancelled');
    assert.equal(paid, 0n);
    const events = await scene.network.database.failureEvent.findMany({ where: { unitId: id } });
    assert.deepEqual(events.map(({ code }) => code).toSorted(), [
      'execute.cancelled',
      'poe.hash_mismatch',
    ]);
    assert.equal(await scene.flags(id), 1);
    assert.equal(await scene.slotOf(id), null);
    assert.equal(other.executed(), 0);
    assert.deepEqual(await scene.outcomes(id), ['poe.hash_mismatch']);
  });

  it('frees everything of a request that waits', async () => {
    const before = await scene.balances();
    const answer = scene.ask(true);
    const id = await scene.running();
    await until(async () => (await scene.network.database.waiting.count()) === 1, 'it waits');
    const { view } = await scene.cancel(id);
    assert.deepEqual([view.status, view.charged_wei], ['cancelled', '0']);
    await (await answer).text();
    assert.equal(await scene.network.database.waiting.count(), 0);
    assert.equal(await scene.slotOf(id), null);
    assert.deepEqual(await scene.outcomes(id), []);
    assert.deepEqual(await scene.balances(), before);
  });
});

import assert from 'node:assert/strict';
import type { Backend, GenerateRequest } from '../../nodes/backends/backend.ts';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { startCoordination, type Coordination, type RequestView } from '../support/coordination.ts';
import { historyOf, record } from '../support/history.ts';
import { ACCOUNT, API_KEY, balances } from '../support/seeded.ts';
import { startTestNode, type TestNode, type TestNodeOptions } from '../support/test-node.ts';
import { until } from '../support/until.ts';

const ABORT_MS_MAX = 1_000;
const ENDLESS = Array.from({ length: 200 }, (_, index) => `word${index} `).join('');

/** What a cancellation does to the work: when the node hears of it, and what is paid. */
describe('workflows: the work of a cancelled request', function () {
  this.timeout(120_000);
  let network: Coordination;
  const nodes: TestNode[] = [];
  /** Lets a node go that does nothing. */
  let letGo = () => {};
  before(async () => {
    network = await startCoordination();
  });
  afterEach(async () => {
    letGo();
    for (const node of nodes.splice(0)) await node.stop();
    await network.database.node.updateMany({ data: { status: 'removed' } });
    const ledger = await balances(network.database);
    assert.equal(
      Object.values(ledger).reduce((sum, wei) => sum + wei, 0n),
      0n,
      'the ledger is conserved',
    );
    assert.equal(ledger[`${ACCOUNT}:reserved`], 0n, 'nothing stays reserved');
  });
  after(() => network.stop());

  async function addNode(options: Partial<TestNodeOptions> = {}): Promise<TestNode> {
    const name = `node-${nodes.length}`;
    const backend = instantBackend();
    const node = await startTestNode({ ...network, name, tier: 1, backend, ...options });
    nodes.push(node);
    if (options.takesCommands !== false)
      await until(() => node.isConnected(), 'its command stream is open');
    return node;
  }

  const ask = (stream: boolean) =>
    network.chat({
      model: INSTANT_MODEL.id,
      messages: [{ role: 'user', content: ENDLESS }],
      max_tokens: 200,
      stream,
    });

  async function running(): Promise<string> {
    let id: string | undefined;
    await until(async () => {
      id = (await network.database.request.findFirst({ where: { finishedAt: null } }))?.id;
      return id !== undefined;
    }, 'a request');
    return id ?? assert.fail();
  }

  async function cancel(id: string) {
    const sentAtMs = performance.now();
    const response = await fetch(`${network.gatewayUrl}/v1/requests/${id}/cancel`, {
      method: 'POST',
      headers: { authorization: `Bearer ${API_KEY}` },
    });
    const view = (await response.json()) as RequestView;
    return { status: response.status, view, sentAtMs, tookMs: performance.now() - sentAtMs };
  }

  const available = async () => (await balances(network.database))[`${ACCOUNT}:available`] ?? 0n;
  const slotOf = (unitId: string) => network.database.slot.findFirst({ where: { unitId } });
  const attempts = (unitId: string) =>
    network.database.dispatch.findMany({ where: { unitId }, orderBy: { dispatch: 'asc' } });

  async function priceOf(promptTokens: number, completionTokens: number): Promise<bigint> {
    const model = await network.database.model.findUniqueOrThrow({
      where: { id: INSTANT_MODEL.id },
    });
    const wei = (price: { toFixed(): string }) => BigInt(price.toFixed());
    return (
      BigInt(promptTokens) * wei(model.promptPriceWei) +
      BigInt(completionTokens) * wei(model.completionPriceWei)
    );
  }

  /** Reads a stream until its end, and counts the pieces of text that came. */
  function read(response: Response) {
    const seen = { pieces: 0, text: '' };
    const whole = (async () => {
      const decoder = new TextDecoder();
      for await (const bytes of response.body ?? []) {
        seen.text += decoder.decode(bytes, { stream: true });
        seen.pieces = seen.text.match(/"content":"word/g)?.length ?? 0;
      }
      return seen;
    })();
    return { seen, whole };
  }

  /** Streams until some text is there, and cancels. */
  async function cancelStream() {
    const before = await available();
    const response = await ask(true);
    const id = response.headers.get('x-request-id') ?? assert.fail();
    const { seen, whole } = read(response);
    await until(() => seen.pieces >= 3, 'three pieces of text');
    const cancelled = await cancel(id);
    const { pieces, text } = await whole;
    return { id, pieces, text, cancelled, paid: before - (await available()) };
  }

  it('charges a stream for what was streamed, and tells the node at once', async () => {
    const { backend, abortedAtMs } = observed(instantBackend({ pieceMs: 60 }));
    await addNode({ backend });
    await addNode({ tier: 2 });
    const { id, pieces, text, cancelled, paid } = await cancelStream();
    assert.deepEqual([cancelled.status, cancelled.view.status], [200, 'cancelled']);
    assert.equal(cancelled.view.error?.code, 'execute.cancelled');
    assert.equal(cancelled.view.result, null);
    assert.match(text, /execute\.cancelled/);
    assert.ok(pieces >= 3 && pieces < 200, `${pieces} pieces`);
    assert.equal(paid, await priceOf(1, pieces));
    assert.equal(BigInt(cancelled.view.charged_wei), paid);
    assert.equal(await slotOf(id), null);
    assert.deepEqual(
      (await attempts(id)).map(({ outcome }) => outcome),
      ['execute.cancelled'],
    );
    const tookMs = Math.round(abortedAtMs() - cancelled.sentAtMs);
    console.log(`      from POST …/cancel to the node's abort: ${tookMs} ms`);
    assert.ok(tookMs < ABORT_MS_MAX, `${tookMs} ms`);
    assert.equal((await cancel(id)).view.charged_wei, paid.toString(), 'again, it is not paid');
    assert.equal(await network.database.nodeEvent.count({ where: { unitId: id } }), 0);
    await record(await historyOf(network.client, id), 'cancelled-returned');
  });

  it('charges no more than was streamed, whatever the node claims', async () => {
    const honest = instantBackend({ pieceMs: 60 });
    const generate: Backend['generate'] = async (...args) => {
      const { tokenIds: _tokenIds, ...generation } = await honest.generate(...args);
      return { ...generation, tokenIds: null, completionTokens: 199 };
    };
    await addNode({ backend: { ...honest, generate } });
    const { pieces, paid } = await cancelStream();
    assert.equal(paid, await priceOf(1, pieces));
  });

  it('charges no more than was proved, however many frames there were', async () => {
    const honest = instantBackend({ pieceMs: 60 });
    const generate: Backend['generate'] = async (...args) => {
      const { tokenIds: _tokenIds, ...generation } = await honest.generate(...args);
      return { ...generation, tokenIds: null, completionTokens: 2 };
    };
    await addNode({ backend: { ...honest, generate } });
    const { pieces, paid } = await cancelStream();
    assert.ok(pieces >= 3);
    assert.equal(paid, await priceOf(1, 2));
  });

  it('charges who hangs up before cancelling for what was sent until then', async () => {
    const { backend, abortedAtMs } = observed(instantBackend({ pieceMs: 60 }));
    await addNode({ backend });
    const before = await available();
    const hangUp = new AbortController();
    const response = await fetch(`${network.gatewayUrl}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        model: INSTANT_MODEL.id,
        messages: [{ role: 'user', content: ENDLESS }],
        max_tokens: 200,
        stream: true,
      }),
      signal: hangUp.signal,
    });
    const id = response.headers.get('x-request-id') ?? assert.fail();
    const { seen, whole } = read(response);
    await until(() => seen.pieces >= 3, 'three pieces of text');
    hangUp.abort();
    await assert.rejects(whole);
    const { view } = await cancel(id);
    assert.equal(view.status, 'cancelled');
    assert.ok(abortedAtMs() > 0);
    const paid = before - (await available());
    assert.ok(paid >= (await priceOf(1, seen.pieces)), `${paid} wei for ${seen.pieces} pieces`);
    assert.ok(paid < (await priceOf(1, 200)));
  });

  it('is free without a stream, and frees the slot at once', async () => {
    const { backend, abortedAtMs } = observed(instantBackend({ pieceMs: 60 }));
    await addNode({ backend });
    const before = await balances(network.database);
    const answer = ask(false);
    const id = await running();
    await until(() => nodes[0]?.executed() === 1, 'the node has it');
    const { view, sentAtMs } = await cancel(id);
    assert.deepEqual([view.status, view.charged_wei], ['cancelled', '0']);
    assert.equal((await answer).status, 499);
    assert.ok(abortedAtMs() - sentAtMs < ABORT_MS_MAX);
    assert.equal(await slotOf(id), null);
    assert.deepEqual(await balances(network.database), before);
  });

  it('does not wait long for a node that says nothing: free, its lease is shortened', async () => {
    const released = new Promise<void>((resolve) => (letGo = resolve));
    await addNode({ behaviour: () => released });
    const before = await balances(network.database);
    const answer = ask(false);
    const id = await running();
    await until(() => nodes[0]?.executed() === 1, 'the node has it');
    const leaseBefore = (await slotOf(id))?.leaseUntil?.getTime() ?? 0;
    // Twice at once: they are the same cancellation.
    const [first, second] = await Promise.all([cancel(id), cancel(id)]);
    for (const { status, view } of [first, second])
      assert.deepEqual([status, view.status, view.charged_wei], [200, 'cancelled', '0']);
    assert.ok(first.tookMs > 900 && first.tookMs < 4_000, `${first.tookMs} ms`);
    assert.equal((await answer).status, 499);
    const leaseUntil = (await slotOf(id))?.leaseUntil?.getTime() ?? Infinity;
    assert.ok(leaseUntil < leaseBefore && leaseUntil < Date.now() + 16_000);
    assert.deepEqual(await balances(network.database), before);
  });

  it('writes a bad proof down, and it is free: nobody else is asked', async () => {
    const backend = instantBackend({ pieceMs: 60 });
    await addNode({
      backend,
      behaviour: async (honest) => ({ ...(await honest()), poe: 'f'.repeat(64) }),
    });
    const other = await addNode({ tier: 2 });
    const { id, cancelled, paid } = await cancelStream();
    assert.equal(cancelled.view.status, 'cancelled');
    assert.equal(cancelled.view.error?.code, 'execute.cancelled');
    assert.equal(paid, 0n);
    const events = await network.database.failureEvent.findMany({ where: { unitId: id } });
    assert.deepEqual(events.map(({ code }) => code).toSorted(), [
      'execute.cancelled',
      'poe.hash_mismatch',
    ]);
    assert.equal(await network.database.nodeEvent.count({ where: { unitId: id } }), 1);
    assert.equal(await slotOf(id), null);
    assert.equal(other.executed(), 0);
    assert.equal((await attempts(id)).length, 1);
  });

  it('frees everything of a request that waits', async () => {
    const before = await balances(network.database);
    const answer = ask(true);
    const id = await running();
    await until(async () => (await network.database.waiting.count()) === 1, 'it waits');
    const { view } = await cancel(id);
    assert.deepEqual([view.status, view.charged_wei], ['cancelled', '0']);
    await (await answer).text();
    assert.equal(await network.database.waiting.count(), 0);
    assert.equal(await slotOf(id), null);
    assert.deepEqual(await attempts(id), []);
    assert.deepEqual(await balances(network.database), before);
  });

  it('reaches a node without a command stream by its heartbeat', async () => {
    const { backend, abortedAtMs } = observed(instantBackend({ pieceMs: 200 }));
    await addNode({ backend, takesCommands: false });
    const before = await balances(network.database);
    const answer = ask(false);
    const id = await running();
    await until(() => nodes[0]?.executed() === 1, 'the node has it');
    assert.equal((await cancel(id)).view.status, 'cancelled');
    assert.equal((await answer).status, 499);
    assert.deepEqual(await balances(network.database), before);
    await until(() => abortedAtMs() > 0, 'the node has stopped');
  });

  for (const first of ['return', 'cancellation'] as const)
    it(`blames nobody when both are there at once, the ${first} first`, async () => {
      const mayReturn = new Promise<void>((resolve) => (letGo = resolve));
      const node = await addNode({ behaviour: (honest) => mayReturn.then(() => honest()) });
      const before = await balances(network.database);
      const answer = ask(false);
      const id = await running();
      await until(() => node.executed() === 1, 'the node has it');
      await network.killCoordinator();
      const handle = network.client.workflow.getHandle(id);
      const steps = {
        cancellation: () => handle.cancel(),
        async return() {
          letGo();
          const isReturned = async () =>
            ((await handle.fetchHistory()).events ?? []).some(
              (event) => event.activityTaskCompletedEventAttributes,
            );
          await until(isReturned, 'Temporal has the return');
        },
      };
      await steps[first]();
      await steps[first === 'return' ? 'cancellation' : 'return']();
      await network.startCoordinator();
      assert.equal((await network.ended(id)).status, 'cancelled');
      await answer;
      assert.equal(await network.database.nodeEvent.count({ where: { unitId: id } }), 0);
      assert.equal(await slotOf(id), null);
      assert.deepEqual(await balances(network.database), before);
    });

  it('reaches a node that has connected again to a coordinator that was killed', async () => {
    const { backend, abortedAtMs } = observed(instantBackend({ pieceMs: 60 }));
    const node = await addNode({ backend });
    await network.killCoordinator();
    await until(() => !node.isConnected(), 'it knows that the coordinator is away');
    await network.startCoordinator();
    await until(() => node.isConnected(), 'it is connected again');
    const { pieces, cancelled, paid } = await cancelStream();
    assert.equal(paid, await priceOf(1, pieces));
    const tookMs = Math.round(abortedAtMs() - cancelled.sentAtMs);
    assert.ok(tookMs < ABORT_MS_MAX, `${tookMs} ms`);
  });
});

/** A backend, and when it was told to stop (0: not yet). */
function observed(backend: Backend): { backend: Backend; abortedAtMs: () => number } {
  let abortedAtMs = 0;
  const generate = (
    request: GenerateRequest,
    onText: (delta: string) => void,
    signal: AbortSignal,
  ) => {
    signal.addEventListener('abort', () => (abortedAtMs = performance.now()));
    return backend.generate(request, onText, signal);
  };
  return { backend: { ...backend, generate }, abortedAtMs: () => abortedAtMs };
}

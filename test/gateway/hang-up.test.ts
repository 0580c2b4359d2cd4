import assert from 'node:assert/strict';
import { instantBackend } from '../../bench/instant-backend.ts';
import { ABORT_MS_MAX, CancelScene, observed, read } from '../support/cancel-scene.ts';
import { API_KEY } from '../support/seeded.ts';
import { until } from '../support/until.ts';

const PIECE_MS = 60;
/** Of what the scene asks for, once it is all there. */
const PIECES = 200;

/** Callers who hang up, with real nodes whose backends say when they were stopped. */
describe('gateway: a caller who hangs up', function () {
  this.timeout(120_000);
  let scene: CancelScene;
  let isStarted = () => false;
  /** What was started until now doesn't count for the next call. */
  let begun = () => {};
  before(async () => {
    scene = await CancelScene.start();
  });
  afterEach(() => scene.tidy());
  after(() => scene.network.stop());

  async function withNode(pieceMs = PIECE_MS) {
    const { backend, started, abortedAtMs } = observed(instantBackend({ pieceMs }));
    const node = await scene.addNode({ backend });
    const seen = { calls: 0 };
    isStarted = () => started() > seen.calls;
    begun = () => void (seen.calls = started());
    return { node, abortedAtMs };
  }

  /** @returns a call that is running on a node, and how to hang up on it. */
  async function running(stream: boolean, changed: object = {}, headers = {}) {
    begun();
    const gone = new AbortController();
    const call = scene.ask(stream, gone.signal, changed, headers);
    call.catch(() => {});
    const id = await scene.running();
    await until(isStarted, 'a node is at it');
    return { id, call, hangUp: () => gone.abort() };
  }

  async function stopsSoon(abortedAtMs: () => number, sinceMs: number) {
    await until(() => abortedAtMs() > 0, 'the backend was stopped');
    const tookMs = Math.round(abortedAtMs() - sinceMs);
    assert.ok(tookMs < ABORT_MS_MAX, `${tookMs} ms`);
  }

  async function isCancelled(id: string) {
    const view = await scene.network.ended(id);
    assert.deepEqual([view.status, view.error?.code], ['cancelled', 'execute.cancelled']);
    await until(async () => (await scene.slotOf(id)) === null, 'the slot is free');
    assert.equal(await scene.flags(id), 0, 'nobody is blamed');
    return view;
  }

  const follow = (id: string, signal: AbortSignal) =>
    fetch(`${scene.network.gatewayUrl}/v1/requests/${id}/stream`, {
      headers: { authorization: `Bearer ${API_KEY}` },
      signal,
    });

  it('stops the node that streams, and pays for what came until then', async () => {
    const { node, abortedAtMs } = await withNode();
    const before = await scene.available();
    const { id, call, hangUp } = await running(true);
    const { seen, whole } = read(await call);
    await until(() => seen.pieces >= 3, 'three pieces of text');
    const sinceMs = performance.now();
    hangUp();
    await assert.rejects(whole);
    await stopsSoon(abortedAtMs, sinceMs);
    const view = await isCancelled(id);
    const paid = before - (await scene.available());
    assert.equal(paid, BigInt(view.charged_wei));
    const { promptTokens, completionTokens } =
      await scene.network.database.request.findUniqueOrThrow({ where: { id } });
    assert.equal(promptTokens, 1n);
    // Frames that were on their way when it hung up count as well, and no more than those.
    const frames = Number(completionTokens ?? 0);
    assert.ok(frames >= seen.pieces && frames < seen.pieces + 5, `${frames} of ${seen.pieces}`);
    assert.equal(paid, await scene.priceOf(1, frames));
    assert.equal(node.executed(), 1);
  });

  it('stops the node that does not stream, free of charge', async () => {
    const { abortedAtMs } = await withNode();
    const before = await scene.balances();
    const { id, hangUp } = await running(false);
    const sinceMs = performance.now();
    hangUp();
    await stopsSoon(abortedAtMs, sinceMs);
    assert.equal((await isCancelled(id)).charged_wei, '0');
    assert.deepEqual(await scene.balances(), before);
  });

  it('cancels what waits for a node', async () => {
    const gone = new AbortController();
    const call = scene.ask(false, gone.signal);
    call.catch(() => {});
    const { database } = scene.network;
    await until(async () => (await database.waiting.count()) === 1, 'it waits');
    const id = await scene.running();
    gone.abort();
    await isCancelled(id);
    assert.equal(await database.waiting.count(), 0);
  });

  it('cancels what it did not know yet to be accepted', async () => {
    const { database } = scene.network;
    const gone = new AbortController();
    await database.$transaction(
      async (transaction) => {
        await transaction.$executeRawUnsafe('LOCK TABLE request IN EXCLUSIVE MODE');
        scene.ask(false, gone.signal).catch(() => {});
        const isReceiving = async () => {
          const [row] = await database.$queryRaw<{ n: number }[]>`
            SELECT count(*)::int AS n FROM pg_stat_activity
            WHERE wait_event_type = 'Lock' AND query LIKE '%INSERT INTO request%'
              AND pid <> pg_backend_pid()`;
          return (row?.n ?? 0) > 0;
        };
        await until(isReceiving, 'it is about to be accepted');
        gone.abort();
      },
      { timeout: 60_000 },
    );
    await isCancelled(await scene.running());
  });

  it('is heard of by a coordinator that was away', async () => {
    // Longer than that takes to come back, and its node to hear of it.
    const { abortedAtMs } = await withNode(500);
    const { id, hangUp } = await running(false);
    await scene.network.killCoordinator();
    hangUp();
    await scene.network.startCoordinator();
    await until(() => abortedAtMs() > 0, 'the backend was stopped', 90);
    await isCancelled(id);
  });

  it('keeps what another one reads, until that one has gone, too', async () => {
    const { abortedAtMs } = await withNode();
    const { id, call, hangUp } = await running(true);
    const first = read(await call);
    const gone = new AbortController();
    const second = read(await follow(id, gone.signal));
    await until(() => first.seen.pieces >= 2 && second.seen.pieces >= 2, 'both read');
    hangUp();
    await assert.rejects(first.whole);
    const had = second.seen.pieces;
    await until(() => second.seen.pieces >= had + 10, 'the second reads on');
    assert.equal(abortedAtMs(), 0);
    const sinceMs = performance.now();
    gone.abort();
    await assert.rejects(second.whole);
    await stopsSoon(abortedAtMs, sinceMs);
    await isCancelled(id);
  });

  it('lets run what it wants to continue, which is fetched afterwards', async () => {
    const { abortedAtMs } = await withNode(5);
    for (const stream of [true, false]) {
      const { id, hangUp } = await running(stream, { on_disconnect: 'continue' });
      hangUp();
      const view = await scene.network.ended(id);
      assert.equal(view.status, 'completed');
      assert.equal(view.result?.choices[0]?.message.content.match(/word/g)?.length, PIECES);
      assert.equal(BigInt(view.charged_wei), await scene.priceOf(1, PIECES));
    }
    assert.equal(abortedAtMs(), 0);
  });

  it('with an Idempotency-Key comes again, unless it says otherwise', async () => {
    const { node, abortedAtMs } = await withNode(10);
    const headers = { 'idempotency-key': 'comes-again' };
    const { id, hangUp } = await running(true, {}, headers);
    hangUp();
    const again = await scene.ask(true, undefined, {}, headers);
    assert.equal(again.headers.get('x-request-id'), id);
    assert.equal((await read(again).whole).pieces, PIECES);
    assert.deepEqual([node.executed(), abortedAtMs()], [1, 0]);
    await scene.network.ended(id);

    const gone = { 'idempotency-key': 'has-gone' };
    const second = await running(false, { on_disconnect: 'cancel' }, gone);
    second.hangUp();
    await isCancelled(second.id);
    const replay = await scene.ask(false, undefined, {}, gone);
    assert.deepEqual([replay.status, replay.headers.get('x-should-retry')], [499, 'false']);
  });
});

describe('gateway: what else ends a request', function () {
  this.timeout(120_000);
  let scene: CancelScene;
  before(async () => {
    scene = await CancelScene.start();
  });
  afterEach(() => scene.tidy());
  after(() => scene.network.stop());

  it('DELETE stops the node, and says the same again', async () => {
    const { backend, started, abortedAtMs } = observed(instantBackend({ pieceMs: PIECE_MS }));
    await scene.addNode({ backend });
    const answer = scene.ask(false);
    const id = await scene.running();
    await until(() => started() === 1, 'a node is at it');
    const remove = () =>
      fetch(`${scene.network.gatewayUrl}/v1/requests/${id}`, {
        method: 'DELETE',
        headers: { authorization: `Bearer ${API_KEY}` },
      });
    const bodies: { status: string; finished_at: string }[] = [];
    for (const response of [await remove(), await remove()]) {
      assert.equal(response.status, 200);
      bodies.push((await response.json()) as (typeof bodies)[0]);
    }
    assert.equal(bodies[0]?.status, 'cancelled');
    assert.equal(bodies[1]?.finished_at, bodies[0]?.finished_at);
    await until(() => abortedAtMs() > 0, 'the backend was stopped');
    assert.equal((await answer).status, 499);
  });

  it('a deadline stops the node, streaming or not, free of charge', async () => {
    for (const stream of [false, true]) {
      const { backend, abortedAtMs } = observed(instantBackend({ pieceMs: 500 }));
      const node = await scene.addNode({ backend });
      const before = await scene.balances();
      // Small enough that the node would be in time, by how fast it was measured.
      const messages = [{ role: 'user', content: 'word '.repeat(8) }];
      const body = { deadline_seconds: 1, max_tokens: 8, messages };
      const answer = await scene.ask(stream, undefined, body);
      const text = await answer.text();
      // The one node that there is has had it, and no other came up.
      assert.match(text, /"code":"capacity_unavailable"/);
      await until(() => abortedAtMs() > 0, 'the backend was stopped');
      const id = answer.headers.get('x-request-id') ?? assert.fail();
      await scene.network.ended(id);
      assert.deepEqual(await scene.outcomes(id), ['node.deadline_exceeded']);
      assert.deepEqual(await scene.balances(), before);
      await node.stop();
    }
  });
});

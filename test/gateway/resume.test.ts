import assert from 'node:assert/strict';
import { latestCoordinator } from '../../prisma/requests.ts';
import { startRealGateway } from '../support/real-gateway.ts';
import { LONG, OTHER_KEY, PIECES, QUESTION, ResumeScene, TEXT } from '../support/resume-scene.ts';
import { API_KEY } from '../support/seeded.ts';
import { openStream, type ReadStream } from '../support/stream-reader.ts';
import { until } from '../support/until.ts';

const lastOf = (chunks: ReadStream['chunks']) =>
  chunks.at(-1)?.sequence_number ?? assert.fail('nothing came');

describe('gateway: resuming', () => {
  let scene: ResumeScene;
  before(async function () {
    this.timeout(180_000);
    scene = await ResumeScene.start();
  });
  afterEach(() => scene.tidy());
  after(() => scene.network.stop());

  const numbersOf = ({ chunks }: ReadStream) => chunks.map((chunk) => chunk.sequence_number);

  it('behind any number, at any gateway, gives the rest and nothing else', async () => {
    const node = await scene.add(PIECES);
    const stream = scene.ask({ stream_options: { include_usage: true } });
    const whole = await stream.whole;
    const id = await stream.id();
    assert.deepEqual([whole.text, whole.isDone], [TEXT, true]);
    assert.equal(whole.chunks.length, PIECES.length + 3);
    const final = whole.chunks.at(-1)?.parallelix;
    const view = await scene.network.ended(id);
    assert.deepEqual(
      [final?.request_id, final?.state, final?.charged_wei, final?.attempts, final?.node],
      [id, 'completed', view.charged_wei, 1, node],
    );
    assert.deepEqual(final?.proof_of_execution, view.proof_of_execution);
    const last = numbersOf(whole).at(-1) ?? assert.fail();
    for (let after = -1; after <= last; after++) {
      const query = after < 0 ? {} : { starting_after: after };
      const rest = await scene.resume(id, { ...query, include_usage: true }, after & 1).whole;
      assert.equal(rest.text, TEXT.slice(Math.max(0, after)));
      assert.deepEqual([rest.isDone, rest.error], [true, null]);
      // Stored text comes in one piece.
      const marks = [0, ...numbersOf(whole).slice(-3)];
      assert.deepEqual(
        numbersOf(rest),
        [...new Set([...marks, TEXT.length])]
          .filter((number) => number > after)
          .toSorted((a, b) => a - b),
      );
      assert.deepEqual(rest.chunks.at(-1)?.parallelix, after < last ? final : undefined);
    }
    const header = { 'last-event-id': String(TEXT.length - 2) };
    assert.equal((await scene.resume(id, {}, 1, header).whole).text, TEXT.slice(-2));
  });

  it('gives live text while it is made, by way of another coordinator', async () => {
    await scene.add(LONG, 100);
    const first = scene.ask();
    await until(() => first.soFar().chunks.length > 5, 'some text');
    const after = first.soFar().chunks.at(-1)?.sequence_number ?? 0;
    const rest = scene.resume(await first.id(), { starting_after: after });
    const all = scene.resume(await first.id());
    await until(() => rest.soFar().chunks.length > 1 && all.soFar().chunks.length > 5, 'live text');
    assert.equal(
      (await scene.network.database.request.findFirst({ orderBy: { acceptedAt: 'desc' } }))?.status,
      'running',
    );
    const [text, restText, allText] = await Promise.all(
      [first, rest, all].map(async ({ whole }) => (await whole).text),
    );
    assert.equal(text, LONG.join(''));
    assert.equal(allText, text);
    assert.equal(restText, text.slice(after));
    assert.ok((await rest.whole).chunks.length > 5, 'piece by piece');
  });

  it('goes on at another gateway when one is killed', async () => {
    await scene.add(LONG, 50);
    const first = scene.ask();
    await until(() => first.soFar().chunks.length > 5, 'some text');
    await scene.network.killGateway();
    await assert.rejects(first.whole);
    const { text, chunks } = first.soFar();
    const rest = await scene.resume(await first.id(), {
      starting_after: lastOf(chunks),
    }).whole;
    assert.equal(text + rest.text, LONG.join(''));
    assert.ok(rest.isDone && rest.chunks.at(-1)?.parallelix?.state === 'completed');
    await scene.network.startGateway();
  });

  it('goes on when the coordinator is killed, at either gateway', async function () {
    this.timeout(120_000);
    await scene.add(LONG, 50);
    const first = scene.ask();
    await until(() => first.soFar().chunks.length > 5, 'some text');
    await scene.network.killCoordinator();
    const seen = first.soFar();
    const rest = scene.resume(await first.id(), {
      starting_after: lastOf(seen.chunks),
    });
    assert.equal(seen.text + (await rest.whole).text, LONG.join(''));
    const { text, isDone } = await first.whole;
    assert.deepEqual([text, isDone], [LONG.join(''), true]);
    await scene.network.startCoordinator();
  });

  it('of a request that was made without a stream, running or ended', async () => {
    await scene.add(PIECES, 50);
    const id = await scene.submit();
    const running = scene.resume(id);
    const { text, isDone } = await running.whole;
    assert.deepEqual([text, isDone], [TEXT, true]);
    assert.equal((await scene.resume(id, { starting_after: 5 }).whole).text, TEXT.slice(5));
  });

  it('says how a request failed, by an error event', async () => {
    const id = await scene.submit({ deadline_seconds: 1 });
    const running = await scene.resume(id).whole;
    assert.deepEqual([running.isDone, running.error?.code], [false, 'capacity_unavailable']);
    assert.equal(running.error?.request_id, id);
    const ended = await scene.resume(id, { starting_after: 3 }, 0).whole;
    assert.equal(ended.error?.code, 'capacity_unavailable');
  });

  it('is charged for what any of its readers got, when it is cancelled', async () => {
    await scene.add(LONG, 50);
    const first = scene.ask();
    await until(() => first.soFar().chunks.length > 2, 'some text');
    const id = await first.id();
    const second = scene.resume(id);
    await until(() => second.soFar().chunks.length > 10, 'more text');
    const read = second.soFar().chunks.length - 1;
    const response = await fetch(`${scene.network.gatewayUrl}/v1/requests/${id}/cancel`, {
      method: 'POST',
      headers: { authorization: `Bearer ${API_KEY}` },
    });
    assert.equal(response.status, 200);
    const { charged_wei: charged } = (await response.json()) as { charged_wei: string };
    const model = await scene.network.database.model.findUniqueOrThrow({
      where: { id: 'instant' },
    });
    const tokens =
      (BigInt(charged) - BigInt(model.promptPriceWei.toFixed())) /
      BigInt(model.completionPriceWei.toFixed());
    assert.ok(tokens >= read && tokens < LONG.length, `${tokens} of ${read}`);
    for (const { whole } of [first, second])
      assert.equal((await whole).error?.code, 'execute.cancelled');
  });

  it('cancels by a gateway whose own coordinator is dead', async function () {
    this.timeout(120_000);
    await scene.add(LONG, 200);
    const other = await latestOf(1);
    await scene.network.killCoordinator();
    const response = await fetch(`${scene.network.gatewayUrl}/v1/requests/${other}`, {
      method: 'DELETE',
      headers: { authorization: `Bearer ${API_KEY}` },
    });
    assert.equal(response.status, 200, await response.clone().text());
    assert.equal(((await response.json()) as { status: string }).status, 'cancelled');
    await scene.network.startCoordinator();
  });

  /** A request that runs and streams by that coordinator: any of them may take it. */
  async function latestOf(coordinator: number): Promise<string> {
    const { database, gatewayUrls, coordinatorUrl } = scene.network;
    for (;;) {
      const stream = openStream(`${gatewayUrls[coordinator]}/v1/chat/completions`, API_KEY, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ ...QUESTION, stream: true, on_disconnect: 'continue' }),
      });
      stream.whole.catch(() => {});
      await until(() => stream.soFar().chunks.length > 2, 'some text');
      const id = await stream.id();
      if ((await latestCoordinator(database, id)) !== coordinatorUrl) return id;
      await stream.whole;
    }
  }

  it('has no more readers of one account than its share of calls', async () => {
    const id = await scene.submit({ deadline_seconds: 3 });
    const gateway = await startRealGateway(scene.network, { callsPerAccount: 2 });
    const open = new AbortController();
    const read = (path: string, key = API_KEY) =>
      fetch(`${gateway.url}/v1/${path}`, {
        headers: { authorization: `Bearer ${key}` },
        signal: open.signal,
      });
    const readers = [read(`requests/${id}/stream`), read(`requests/${id}/stream`)];
    for (const reader of readers) assert.equal((await reader).status, 200);
    const third = await read(`requests/${id}/stream`);
    assert.equal(third.status, 429);
    assert.ok(Number(third.headers.get('retry-after')) > 0);
    assert.equal((await read('credits', OTHER_KEY)).status, 200);
    open.abort();
    await until(async () => {
      const again = await fetch(`${gateway.url}/v1/credits`, {
        headers: { authorization: `Bearer ${API_KEY}` },
      });
      return again.status === 200;
    }, 'they count no more');
    await gateway.stop();
    await scene.network.ended(id);
  });

  it('is for the account of the request alone, and takes no other parameters', async () => {
    await scene.add(PIECES);
    const id = await scene.submit();
    const get = async (path: string, headers: Record<string, string> = {}, key = API_KEY) => {
      const response = await fetch(`${scene.network.gatewayUrl}/v1/requests/${path}`, {
        headers: { authorization: `Bearer ${key}`, ...headers },
      });
      const { error } = (await response.json()) as { error: { code: string; param: string } };
      return [response.status, error.code, error.param];
    };
    const unknown = [404, 'gateway.request_not_found', null];
    assert.deepEqual(await get(`${id}/stream`, {}, OTHER_KEY), unknown);
    assert.deepEqual(await get(`req_${'0'.repeat(64)}/stream`), unknown);
    assert.deepEqual(await get('req_short/stream'), unknown);
    assert.deepEqual((await get(`${id}/stream`, {}, 'wrong-key'))[0], 401);
    for (const [query, param] of [
      ['starting_after=-1', 'starting_after'],
      ['starting_after=', 'starting_after'],
      ['starting_after=1e3', 'starting_after'],
      ['starting_after=99999999999', 'starting_after'],
      ['attempt=0', 'attempt'],
      ['include_usage=1', 'include_usage'],
      ['from=1', 'from'],
    ])
      assert.deepEqual(await get(`${id}/stream?${query}`), [
        400,
        'receive.malformed_request',
        param,
      ]);
    const header = { 'last-event-id': 'x' };
    assert.deepEqual((await get(`${id}/stream`, header)).slice(0, 2), [
      400,
      'receive.malformed_request',
    ]);
    await scene.network.ended(id);
    const { error } = await scene.resume(id, { starting_after: 999_999 }).whole;
    assert.equal(error?.code, 'receive.malformed_request');
  });
});

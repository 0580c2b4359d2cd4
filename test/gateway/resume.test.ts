import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { instantBackend } from '../../bench/instant-backend.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { API_KEY } from '../support/seeded.ts';
import { openStream, type ReadStream } from '../support/stream-reader.ts';
import { startTestNode, type TestNode, type TestNodeOptions } from '../support/test-node.ts';
import { until } from '../support/until.ts';

const PIECES = [
  'Ein ',
  'schöner ',
  '🙂 ',
  'Tag',
  ' in ',
  'Reykjavík',
  ', ',
  '冰岛',
  '.\n',
  '\n',
  '🇮🇸',
];
const TEXT = PIECES.join('');
const LONG = Array.from({ length: 40 }, (_, index) => `${index} `);

const OTHER_KEY = 'plx-other-key-00000000';

/** Two coordinators, each with a gateway, and real nodes. */
describe('gateway: resuming', () => {
  let network: Coordination;
  let nodes: TestNode[] = [];
  before(async function () {
    this.timeout(180_000);
    network = await startCoordination(2);
    const keyHash = createHash('sha256').update(OTHER_KEY).digest('hex');
    await network.database.account.create({
      data: { id: 'acct_other', name: 'Other', apiKeys: { create: { keyHash } } },
    });
  });
  afterEach(async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    nodes = [];
    await network.database.node.updateMany({ data: { status: 'removed' } });
  });
  after(() => network.stop());

  async function add(
    pieces: readonly string[],
    pieceMs = 0,
    options: Partial<TestNodeOptions> = {},
  ) {
    const backend = instantBackend({ answer: () => pieces, pieceMs });
    const name = `node-${nodes.length}`;
    const tier = nodes.length + 1;
    nodes.push(await startTestNode({ ...network, name, tier, backend, ...options }));
  }

  /** Streams some of its text and fails, so that another one gets the request. */
  const breaksOff = (pieces: readonly string[]): Partial<TestNodeOptions> => ({
    behaviour: (honest) => {
      const backend = instantBackend();
      return honest({
        backend: {
          ...backend,
          async generate(_request, onText) {
            for (const piece of pieces) onText(piece);
            // Time for it to get through.
            await new Promise((resolve) => setTimeout(resolve, 500));
            throw new Error('broken');
          },
        },
      });
    },
  });

  const ask = (body: object = {}, gateway = 0) =>
    openStream(`${network.gatewayUrls[gateway]}/v1/chat/completions`, API_KEY, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        model: 'instant',
        messages: [{ role: 'user', content: 'Hello' }],
        max_tokens: 100,
        stream: true,
        ...body,
      }),
    });

  const resume = (id: string, query: object = {}, gateway = 1, init: RequestInit = {}) => {
    const search = new URLSearchParams(query as Record<string, string>);
    const url = `${network.gatewayUrls[gateway]}/v1/requests/${id}/stream?${search}`;
    return openStream(url, API_KEY, init);
  };

  async function submit(body: object = {}): Promise<string> {
    const response = await fetch(`${network.gatewayUrl}/v1/requests`, {
      method: 'POST',
      headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        model: 'instant',
        messages: [{ role: 'user', content: 'Hello' }],
        ...body,
      }),
    });
    assert.equal(response.status, 202, await response.clone().text());
    return ((await response.json()) as { id: string }).id;
  }

  const numbersOf = ({ chunks }: ReadStream) => chunks.map((chunk) => chunk.sequence_number);

  it('behind any number, at any gateway, gives the rest and nothing else', async () => {
    await add(PIECES);
    const stream = ask({ stream_options: { include_usage: true } });
    const whole = await stream.whole;
    const id = await stream.id();
    assert.deepEqual([whole.text, whole.isDone], [TEXT, true]);
    assert.equal(whole.chunks.length, PIECES.length + 4);
    const final = whole.chunks.at(-1)?.parallelix;
    const view = await network.ended(id);
    assert.deepEqual(
      [final?.request_id, final?.state, final?.charged_wei, final?.attempts, final?.node],
      [id, 'completed', view.charged_wei, 1, nodes[0]?.keys.nodeId],
    );
    assert.deepEqual(final?.proof_of_execution, view.proof_of_execution);
    const last = numbersOf(whole).at(-1) ?? assert.fail();
    for (let after = -1; after <= last; after++) {
      const query = after < 0 ? {} : { starting_after: after };
      const rest = await resume(id, { ...query, include_usage: true }, after & 1).whole;
      assert.equal(rest.text, TEXT.slice(Math.max(0, after)));
      assert.deepEqual([rest.isDone, rest.error], [true, null]);
      // Stored text comes in one piece.
      const marks = [0, ...numbersOf(whole).slice(-4)];
      assert.deepEqual(
        numbersOf(rest),
        [...new Set([...marks, TEXT.length])]
          .filter((number) => number > after)
          .toSorted((a, b) => a - b),
      );
      assert.deepEqual(rest.chunks.at(-1)?.parallelix, after < last ? final : undefined);
    }
    const header = { headers: { 'last-event-id': String(TEXT.length - 2) } };
    assert.equal((await resume(id, {}, 1, header).whole).text, TEXT.slice(-2));
  });

  it('gives live text while it is made, by way of another coordinator', async () => {
    await add(LONG, 100);
    const first = ask();
    await until(() => first.soFar().chunks.length > 5, 'some text');
    const after = first.soFar().chunks.at(-1)?.sequence_number ?? 0;
    const rest = resume(await first.id(), { starting_after: after });
    const all = resume(await first.id());
    await until(() => rest.soFar().chunks.length > 1 && all.soFar().chunks.length > 5, 'live text');
    assert.equal(
      (await network.database.request.findFirst({ orderBy: { acceptedAt: 'desc' } }))?.status,
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
    await add(LONG, 50);
    const first = ask();
    await until(() => first.soFar().chunks.length > 5, 'some text');
    await network.killGateway();
    await assert.rejects(first.whole);
    const { text, chunks } = first.soFar();
    const rest = await resume(await first.id(), {
      starting_after: chunks.at(-1)?.sequence_number,
    }).whole;
    assert.equal(text + rest.text, LONG.join(''));
    assert.ok(rest.isDone && rest.chunks.at(-1)?.parallelix?.state === 'completed');
    await network.startGateway();
  });

  it('goes on when the coordinator is killed: on the stream itself, and at another gateway', async function () {
    this.timeout(120_000);
    await add(LONG, 50);
    const first = ask();
    await until(() => first.soFar().chunks.length > 5, 'some text');
    await network.killCoordinator();
    const seen = first.soFar();
    const rest = resume(await first.id(), {
      starting_after: seen.chunks.at(-1)?.sequence_number,
    });
    assert.equal(seen.text + (await rest.whole).text, LONG.join(''));
    const { text, isDone } = await first.whole;
    assert.deepEqual([text, isDone], [LONG.join(''), true]);
    await network.startCoordinator();
  });

  it('of a request that was made without a stream, running or ended', async () => {
    await add(PIECES, 50);
    const id = await submit();
    const running = resume(id);
    const { text, isDone } = await running.whole;
    assert.deepEqual([text, isDone], [TEXT, true]);
    assert.equal((await resume(id, { starting_after: 5 }).whole).text, TEXT.slice(5));
  });

  it('says how a request failed, by an error event', async () => {
    const id = await submit({ deadline_seconds: 1 });
    const running = await resume(id).whole;
    assert.deepEqual([running.isDone, running.error?.code], [false, 'capacity_unavailable']);
    assert.equal(running.error?.request_id, id);
    const ended = await resume(id, { starting_after: 3 }, 0).whole;
    assert.equal(ended.error?.code, 'capacity_unavailable');
  });

  it('goes on silently behind an attempt that broke off, if the next one begins alike', async () => {
    await add(PIECES, 0, breaksOff(PIECES.slice(0, 3)));
    await add(PIECES, 20);
    const stream = ask();
    const { chunks, text, isDone } = await stream.whole;
    assert.deepEqual([text, isDone], [TEXT, true]);
    assert.deepEqual([...new Set(chunks.flatMap(({ attempt }) => attempt ?? []))], [1, 2]);
    assert.equal(chunks.at(-1)?.parallelix?.attempts, 2);
    const id = await stream.id();
    const after = chunks[3]?.sequence_number ?? 0;
    // What was read of the second attempt can be gone on with, and the text as a whole.
    const rest = await resume(id, { starting_after: after, attempt: 2 }).whole;
    assert.equal(rest.text, TEXT.slice(after));
    assert.equal((await resume(id).whole).text, TEXT);
    assert.equal((await resume(id, { starting_after: 0 }).whole).text, TEXT);
    // Whether the first one began alike nobody knows any more.
    for (const query of [{ starting_after: after }, { starting_after: after, attempt: 1 }]) {
      const refused = await resume(id, query).whole;
      assert.deepEqual([refused.text, refused.error?.code], ['', 'gateway.stream_superseded']);
    }
  });

  it('ends in a typed error behind an attempt that was replaced by another text', async () => {
    await add(PIECES, 0, breaksOff(['Kein ', 'schöner ']));
    await add(PIECES, 20);
    const stream = ask();
    const { text, error, isDone } = await stream.whole;
    assert.deepEqual(
      [text, error?.code, isDone],
      ['Kein schöner ', 'gateway.stream_superseded', false],
    );
    const id = await stream.id();
    const refused = await resume(id, { starting_after: text.length, attempt: 1 }).whole;
    assert.deepEqual([refused.text, refused.error?.code], ['', 'gateway.stream_superseded']);
    assert.equal((await resume(id).whole).text, TEXT, 'from its beginning it is the right one');
  });

  it('is charged for what any of its readers got, when it is cancelled', async () => {
    await add(LONG, 50);
    const first = ask({ on_disconnect: undefined });
    await until(() => first.soFar().chunks.length > 2, 'some text');
    const id = await first.id();
    const second = resume(id);
    await until(() => second.soFar().chunks.length > 10, 'more text');
    const read = second.soFar().chunks.length - 1;
    const response = await fetch(`${network.gatewayUrl}/v1/requests/${id}/cancel`, {
      method: 'POST',
      headers: { authorization: `Bearer ${API_KEY}` },
    });
    assert.equal(response.status, 200);
    const { charged_wei: charged } = (await response.json()) as { charged_wei: string };
    const model = await network.database.model.findUniqueOrThrow({ where: { id: 'instant' } });
    const tokens =
      (BigInt(charged) - BigInt(model.promptPriceWei.toFixed())) /
      BigInt(model.completionPriceWei.toFixed());
    assert.ok(tokens >= read && tokens < LONG.length, `${tokens} of ${read}`);
    for (const { whole } of [first, second])
      assert.equal((await whole).error?.code, 'execute.cancelled');
  });

  it('is for the account of the request alone, and takes no other parameters', async () => {
    await add(PIECES);
    const id = await submit();
    const get = async (path: string, headers: Record<string, string> = {}, key = API_KEY) => {
      const response = await fetch(`${network.gatewayUrl}/v1/requests/${path}`, {
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
    await network.ended(id);
    const { error } = await resume(id, { starting_after: 999_999 }).whole;
    assert.equal(error?.code, 'receive.malformed_request');
  });
});

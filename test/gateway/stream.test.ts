import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import fastify, { type FastifyInstance } from 'fastify';
import OpenAI, { APIError } from 'openai';
import pino from 'pino';
import type { ChatEvent } from '../../gateway/chat.ts';
import type { GatewayDependencies } from '../../gateway/context.ts';
import { GatewayMetrics } from '../../gateway/metrics.ts';
import { chatFormat } from '../../gateway/stream-format.ts';
import * as sse from '../../gateway/sse.ts';
import { streamed } from '../../gateway/stream.ts';
import { CodedError } from '../../protocol/errors.ts';
import { emptyStreamDigest, type InferenceResult } from '../../protocol/result.ts';
import { openStream, textOf } from '../support/stream-reader.ts';
import { until } from '../support/until.ts';

const PING_MS = 40;
const READER_MS_MAX = 400;

const resultOf = (...texts: string[]): ChatEvent => {
  const result: InferenceResult = {
    v: 1,
    modelDigest: `sha256:${'b1'.repeat(32)}`,
    engine: 'e',
    seed: 7,
    choices: texts.map((text) => ({ text, finishReason: 'stop' as const })),
    usage: { promptTokens: 10, completionTokens: 2 },
    streamDigest: emptyStreamDigest,
  };
  return { kind: 'result', result, attempt: 1 };
};
const delta = (text: string): ChatEvent => ({ kind: 'delta', text, attempt: 1 });

/** Streams over real connections, of events that a test makes up. */
describe('gateway/stream', () => {
  let app: FastifyInstance;
  let url: string;
  let events: () => AsyncIterable<ChatEvent>;
  let startingAfter = -1;
  let includeUsage = true;
  const logged: Record<string, unknown>[] = [];
  let sockets: Socket[] = [];
  before(async () => {
    const write = (line: string) => void logged.push(JSON.parse(line) as Record<string, unknown>);
    // There is no record of what a test makes up.
    const database = { $queryRaw: async () => [] };
    const dependencies = {
      database,
      log: pino({}, { write }),
      metrics: new GatewayMetrics(),
      pace: { pingMs: PING_MS, readerMsMax: READER_MS_MAX },
    } as unknown as GatewayDependencies;
    app = fastify({ forceCloseConnections: true });
    const head = { id: 'req_1', created: 1, model: 'm' };
    app.all('/v1/chat/completions', (_request, reply) =>
      streamed(
        reply.header('x-trace-id', 't'),
        { head, format: chatFormat, after: startingAfter, includeUsage, untilEnd: false },
        events(),
        dependencies,
      ),
    );
    url = await app.listen({ host: '127.0.0.1', port: 0 });
  });
  beforeEach(() => {
    [startingAfter, includeUsage] = [-1, true];
    logged.length = 0;
  });
  afterEach(() => {
    for (const socket of sockets) socket.destroy();
    sockets = [];
  });
  after(() => app.close());

  const read = () => openStream(`${url}/v1/chat/completions`, 'k').whole;

  it('numbers all chunks, and ends with finish, usage in the final event, and [DONE]', async () => {
    events = async function* () {
      yield* [delta('Hi '), delta('🙂'), resultOf('Hi 🙂')];
    };
    const { chunks, isDone, text, error } = await read();
    const kinds = chunks.map(({ sequence_number: number, choices, usage, parallelix }) => [
      number,
      choices[0]?.delta.content ?? choices[0]?.finish_reason ?? usage ?? parallelix?.request_id,
    ]);
    const usage = { prompt_tokens: 10, completion_tokens: 2, total_tokens: 12 };
    assert.deepEqual(kinds, [
      [0, ''],
      [3, 'Hi '],
      [5, '🙂'],
      [6, 'stop'],
      [8, usage],
    ]);
    assert.equal(chunks.at(-1)?.parallelix?.request_id, 'req_1');
    assert.deepEqual([isDone, text, error], [true, 'Hi 🙂', null]);
    assert.deepEqual(
      chunks.map(({ attempt }) => attempt),
      [undefined, 1, 1, undefined, undefined],
    );
    // The answer is complete, so it isn't an error that this can't be told.
    assert.equal(chunks.at(-1)?.parallelix?.error?.code, 'gateway.request_not_found');
    includeUsage = false;
    const numbers = (await read()).chunks.map((chunk) => chunk.sequence_number);
    assert.deepEqual(numbers, [0, 3, 5, 6, 8], 'whoever asks for usage has the same numbers');
  });

  it('sends several answers whole, each with its index, and resumes in any of them', async () => {
    const texts = ['one', '', 'three 🙂'];
    events = async function* () {
      yield* [delta('one'), resultOf(...texts)];
    };
    const { chunks } = await read();
    for (const [index, text] of texts.entries()) assert.equal(textOf(chunks, index), text);
    const ends = chunks.filter(({ choices }) => choices[0]?.finish_reason === 'stop');
    assert.deepEqual(
      ends.map(({ choices }) => choices[0]?.index),
      [0, 1, 2],
    );
    assert.deepEqual(
      chunks.filter(({ choices }) => choices[0]?.delta.role).map((each) => each.choices[0]?.index),
      [0, 1, 2],
    );
    for (const [index, chunk] of chunks.entries()) {
      startingAfter = chunk.sequence_number;
      const rest = await read();
      assert.deepEqual(
        rest.chunks.map((each) => each.sequence_number),
        chunks.slice(index + 1).map((each) => each.sequence_number),
      );
      assert.ok(rest.isDone);
    }
    startingAfter = 7;
    assert.equal(textOf((await read()).chunks, 2), 'ree 🙂', 'in the middle of the third');
  });

  it('says that a number is beyond the end, instead of ending well', async () => {
    events = async function* () {
      yield resultOf('one');
    };
    startingAfter = 7;
    const { chunks, isDone, error } = await read();
    assert.deepEqual([chunks, isDone, error?.code], [[], false, 'receive.malformed_request']);
  });

  it('ends in an error event without [DONE], on which the SDK throws', async () => {
    events = async function* () {
      yield delta('Hi ');
      throw new CodedError('gateway.stream_superseded');
    };
    const { isDone, error, text } = await read();
    assert.deepEqual([isDone, text], [false, 'Hi ']);
    assert.deepEqual([error?.code, error?.request_id], ['gateway.stream_superseded', 'req_1']);
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'k', maxRetries: 0 });
    const stream = await client.chat.completions.create({
      model: 'm',
      messages: [],
      stream: true,
    });
    let got = '';
    await assert.rejects(
      async () => {
        for await (const chunk of stream) got += chunk.choices[0]?.delta.content ?? '';
      },
      (thrown) => thrown instanceof APIError && thrown.code === 'gateway.stream_superseded',
    );
    assert.equal(got, 'Hi ');
  });

  it('pings from acceptance on for as long as nothing else comes', async () => {
    events = async function* () {
      await sleep(10 * PING_MS);
      yield resultOf('one');
    };
    const { pings, isDone } = await read();
    assert.ok(pings >= 3 && pings <= 12, String(pings));
    assert.ok(isDone);
  });

  it('pings every 15 s, and waits for a reader for 60 s, unless it is told otherwise', () => {
    assert.deepEqual([sse.PING_MS, sse.READER_MS_MAX], [15_000, 60_000]);
  });

  it('cuts long text into chunks, whatever it came in', async () => {
    const long = 'x'.repeat(100_000);
    events = async function* () {
      yield* [delta(long), resultOf(long)];
    };
    const { chunks, text } = await read();
    assert.equal(text, long);
    assert.ok(chunks.length > 8);
  });

  /** A reader that asks, and then reads nothing until it is told to. */
  function stalled(): Socket {
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    sockets.push(socket);
    socket.pause();
    socket.write('GET /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n');
    return socket;
  }

  /** Endless text, and how much of it was asked for. */
  function endless() {
    const seen = { characters: 0, isOver: false };
    const piece = 'x'.repeat(1_000);
    events = async function* () {
      try {
        for (;;) {
          yield delta(piece);
          seen.characters += piece.length;
          await new Promise((resolve) => setImmediate(resolve));
        }
      } finally {
        seen.isOver = true;
      }
    };
    return seen;
  }

  it('asks for no more than is read, cuts off who reads nothing, and says so', async () => {
    global.gc?.();
    const before = process.memoryUsage();
    const seen = endless();
    stalled();
    await until(() => logged.length > 0, 'it is cut off');
    const { external, arrayBuffers, heapUsed } = process.memoryUsage();
    const grownMb =
      (external +
        arrayBuffers +
        heapUsed -
        before.external -
        before.arrayBuffers -
        before.heapUsed) /
      2 ** 20;
    assert.equal(logged[0]?.['code'], 'gateway.reader_too_slow');
    assert.equal(logged[0]?.['request'], 'req_1');
    await until(() => seen.isOver, 'nothing is read of what it was to get');
    // What the kernel takes on both sides is not ours.
    assert.ok(seen.characters < 20_000_000, String(seen.characters));
    assert.ok(grownMb < 64, `${grownMb} MB`);
    const { characters } = seen;
    await sleep(50);
    assert.equal(seen.characters, characters);
  });

  it('waits for who reads slowly, and goes on', async () => {
    const long = 'x'.repeat(12_000_000);
    events = async function* () {
      yield* [delta(long), resultOf(long)];
    };
    const socket = stalled();
    let sse = '';
    // Nothing for most of its patience, then a little.
    for (let pause = 0; pause < 3; pause++) {
      await sleep(READER_MS_MAX / 2);
      for (let read = 0; read < 60; read++) {
        await new Promise((resolve) => setImmediate(resolve));
        sse += String(socket.read() ?? '');
      }
    }
    socket.on('data', (bytes) => (sse += String(bytes)));
    socket.resume();
    await until(() => sse.includes('data: [DONE]'), 'all of it');
    assert.ok(!logged.some(({ code }) => code === 'gateway.reader_too_slow'));
    assert.equal(sse.match(/x{100,}/g)?.join('').length, long.length);
  });

  it('forgets who hangs up, without a word', async () => {
    const seen = endless();
    const reader = openStream(`${url}/v1/chat/completions`, 'k');
    await until(() => reader.soFar().text.length > 0, 'some text');
    reader.stop();
    await until(() => seen.isOver, 'it is over');
    assert.deepEqual(logged, []);
  });
});

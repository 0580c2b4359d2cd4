import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { generateNodeKeys, type NodeKeys } from '../../crypto/keys.ts';
import { Channel } from '../../nodes/channel.ts';
import { formatRequestId } from '../../protocol/ids.ts';
import { testNetworkCa } from '../support/certificates.ts';
import { startFakeEdge, type FakeEdge } from '../support/fake-edge.ts';
import { until } from '../support/until.ts';

const unitId = formatRequestId(randomBytes(32));
const challenge = { sequence: 3, nonce: 'nonce' };
const state = { ready: true, running: [] };

/** An edge that may say anything. */
describe('nodes/channel', () => {
  let keys: NodeKeys;
  let edge: FakeEdge;
  let channel: Channel;
  let answer: (request: IncomingMessage, response: ServerResponse) => void;
  before(async () => {
    keys = await generateNodeKeys();
    edge = await startFakeEdge(keys, (request, response) => answer(request, response));
    channel = new Channel(edge.access, keys);
  });
  after(async () => {
    await edge.close();
    await channel.close();
  });

  const json = (status: number, body: object) => {
    answer = (request, response) => {
      request.resume();
      response.writeHead(status).end(JSON.stringify(body));
    };
  };

  it('takes a refused challenge as one to answer anew, and nothing else as that', async () => {
    const fresh = { sequence: 4, nonce: 'fresh' };
    const error = { code: 'node.heartbeat_replayed', message: '' };
    json(409, { error, challenge: fresh });
    const answered = await channel.heartbeat(challenge, state);
    assert.deepEqual([answered.isKnown, answered.isReplayed], [true, true]);
    assert.deepEqual(answered.challenge, fresh);
    json(404, { error: { code: 'node.unknown' } });
    assert.equal((await channel.heartbeat(challenge, state)).isKnown, false);
    for (const [status, code] of [
      [404, 'edge.forbidden'],
      [409, 'node.operator_mismatch'],
      [503, 'edge.unavailable'],
    ] as const) {
      json(status, { error: { code } });
      await assert.rejects(channel.heartbeat(challenge, state), new RegExp(`${status} ${code}`));
    }
    answer = (_request, response) => response.writeHead(502).end('<html>');
    await assert.rejects(channel.heartbeat(challenge, state), /answered with 502$/);
  });

  it('has its new certificate on new connections, while older ones end by themselves', async () => {
    const serials: (string | undefined)[] = [];
    const streams: ServerResponse[] = [];
    answer = (request, response) => {
      request.resume();
      serials.push((request.socket as TLSSocket).getPeerX509Certificate()?.serialNumber);
      if (request.url === '/v1/node/commands') {
        streams.push(response);
        response.write('{"type":"ping"}\n');
      } else response.end('{}');
    };
    let heard = 0;
    const stop = new AbortController();
    const listening = channel.commands(() => void (heard += 1), stop.signal);
    const ended = assert.rejects(listening);
    await until(() => heard === 1, 'the command stream');
    await channel.heartbeat(challenge, state);
    await edge.renew();
    await channel.heartbeat(challenge, state);
    await channel.heartbeat(challenge, state);
    const [stream, before, renewed, again] = serials;
    assert.equal(before, stream);
    assert.notEqual(renewed, before);
    assert.equal(again, renewed);
    streams[0]?.write('{"type":"ping"}\n');
    await until(() => heard === 2, 'the older stream goes on');
    stop.abort();
    await ended;
  });

  it('talks to nobody whom its CA has not signed', async () => {
    const { ca } = await testNetworkCa();
    const wary = new Channel(
      { address: edge.access.address, tls: () => ({ ...edge.access.tls(), ca }) },
      keys,
    );
    await assert.rejects(wary.heartbeat(challenge, state), /certificate|issuer/);
    await wary.close();
  });

  it('gives an edge up that has been silent for too long', async () => {
    answer = (_request, response) => response.writeHead(200).flushHeaders();
    const { signal } = new AbortController();
    await assert.rejects(
      channel.commands(() => {}, signal, 100),
      /silent/,
    );
  });

  it('sends frames in order, and says once why a stream was lost', async () => {
    const lost: string[] = [];
    let got = '';
    answer = (request, response) => {
      assert.equal(request.url, `/v1/node/units/${unitId}/7/frames`);
      assert.equal(request.headers.authorization, 'Bearer token');
      request.on('data', (chunk: Buffer) => void (got += chunk.toString()));
      request.on('end', () => response.writeHead(204).end());
    };
    const attempt = { unitId, dispatch: 7 };
    const stream = channel.openStream(attempt, 'token', ({ message }) => lost.push(message));
    for (const frame of ['one', 'two', 'three']) stream.send(frame);
    await stream.close();
    assert.deepEqual([got, lost], ['one\ntwo\nthree\n', []]);
    stream.send('after its end');

    json(403, { error: { code: 'relay.forbidden' } });
    const refused = channel.openStream(attempt, 'token', ({ message }) => lost.push(message));
    refused.send('one');
    await until(() => lost.length > 0, 'it is lost');
    refused.send('two');
    await refused.close();
    assert.equal(lost.length, 1);
    assert.match(lost[0] ?? '', /403 relay\.forbidden/);
  });
});

import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { generateNodeKeys, generateX25519Key } from '../../crypto/keys.ts';
import { Channel, type NodeClaims } from '../../nodes/channel.ts';
import { joinNetwork } from '../../nodes/membership.ts';
import { until } from '../support/until.ts';

const quiet = { info: () => {}, warn: () => {} };

describe('nodes/membership', () => {
  let server: Server;
  let url: string;
  let heartbeats = 0;
  let known = true;
  const engines: string[] = [];

  before(async () => {
    const returnKey = (await generateX25519Key()).publicJwk;
    const answer = async (request: IncomingMessage, response: ServerResponse) => {
      if (request.url === '/v1/nodes/register') {
        const body = (await json(request)) as { registration: { engine: string } };
        engines.push(body.registration.engine);
        response.end(JSON.stringify({ heartbeatToken: `token-${engines.length}`, returnKey }));
        return;
      }
      heartbeats += 1;
      response.writeHead(known ? 204 : 404).end();
      known = true;
    };
    server = createServer((request, response) => void answer(request, response));
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  });

  it('beats only while it is ready, and registers anew what has changed', async () => {
    const keys = await generateNodeKeys();
    let ready = true;
    let asked = 0;
    let engine = 'engine/1';
    const claims = (): NodeClaims => ({
      name: 'node',
      operatorId: 'operator',
      tier: 1,
      workloadClasses: ['ai.inference'],
      modelId: 'instant',
      modelDigest: `sha256:${'1'.repeat(64)}`,
      engine,
      tokensPerSecond: 1,
      slots: 1,
    });
    const membership = await joinNetwork(new Channel(url, keys), claims, quiet, () => {
      asked += 1;
      return ready;
    });
    await until(() => heartbeats > 0, 'a heartbeat');
    ready = false;
    const [beatsBefore, askedBefore] = [heartbeats, asked];
    await until(() => asked > askedBefore + 1, 'two turns without a heartbeat');
    // One may have been on its way when it changed.
    assert.ok(heartbeats <= beatsBefore + 1, `${heartbeats - beatsBefore} heartbeats`);
    assert.deepEqual(engines, ['engine/1']);
    engine = 'engine/2';
    ready = true;
    await until(() => engines.length > 1, 'a registration of the new engine');
    known = false;
    await until(() => engines.length > 2, 'a registration where it was forgotten');
    await membership.leave();
    assert.deepEqual(engines, ['engine/1', 'engine/2', 'engine/2']);
  });
});

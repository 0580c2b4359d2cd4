import assert from 'node:assert/strict';
import fastify from 'fastify';
import { limitBodies } from '../../gateway/connections.ts';
import { codedError } from '../../gateway/context.ts';
import { sendError } from '../../gateway/errors.ts';
import { rawHttp } from '../support/raw-http.ts';

const HELD = 100_000;

const call = (length: number, sent: number) =>
  `POST / HTTP/1.1\r\nhost: g\r\nconnection: close\r\ncontent-type: text/plain\r\n` +
  `content-length: ${length}\r\n\r\n${'x'.repeat(sent)}`;

describe('gateway/connections limitBodies', () => {
  const app = fastify({ forceCloseConnections: true, requestTimeout: 2_000 });
  limitBodies(app, { heldBytes: HELD });
  app.setErrorHandler((error, _request, reply) => sendError(reply, codedError(error)));
  app.post('/', () => 'taken');
  let url: string;
  before(async () => {
    url = await app.listen({ host: '127.0.0.1', port: 0 });
  });
  after(() => app.close());

  const pause = () => new Promise((resolve) => setTimeout(resolve, 200));

  it('holds no more of bodies that are coming than it may, and goes on after them', async () => {
    const first = rawHttp(url, [call(90_000, 60_000)]);
    await pause();
    const second = await rawHttp(url, [call(90_000, 60_000)]);
    assert.equal(second.status, null, 'it would be too much, and breaks off');
    await pause();
    const third = await rawHttp(url, [call(30_000, 30_000)]);
    assert.equal(third.status, 200, third.text);
    app.server.closeAllConnections();
    await first;
    await pause();
    const whole = await rawHttp(url, [call(90_000, 90_000)]);
    assert.equal(whole.status, 200, whole.text);
  });

  it('begins with none while it holds as much as it may', async () => {
    const first = rawHttp(url, [call(HELD + 1, HELD)]);
    await pause();
    const second = await rawHttp(url, [call(10, 10)]);
    assert.equal(second.status, 503, second.text);
    assert.equal(second.error?.code, 'gateway.overloaded');
    assert.match(second.text, /^retry-after: 5\r$/m);
    app.server.closeAllConnections();
    await first;
    await pause();
    assert.equal((await rawHttp(url, [call(10, 10)])).status, 200);
  });
});

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CoordinatorClient } from '../../edge/coordinator-client.ts';
import { CodedError, type ErrorCode } from '../../protocol/errors.ts';
import { formatNodeId } from '../../protocol/ids.ts';

const nodeId = formatNodeId(randomBytes(32));
const isCoded = (code: ErrorCode) => (error: unknown) =>
  error instanceof CodedError && error.code === code;
const unavailable = isCoded('edge.unavailable');

/** A coordinator that may say anything. */
describe('edge/coordinator-client', () => {
  let server: Server;
  let client: CoordinatorClient;
  let logged: string[];
  let seen: IncomingMessage[];
  let answer: (response: ServerResponse) => void;
  before(async () => {
    server = createServer((request, response) => {
      seen.push(request);
      request.resume();
      answer(response);
    });
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const log = { error: (_fields: object, line: string) => void logged.push(line) };
    client = new CoordinatorClient(`http://127.0.0.1:${port}`, 'the-edge-token', log);
  });
  beforeEach(() => {
    [seen, logged] = [[], []];
  });
  after(async () => {
    await client.close();
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  });
  const json = (status: number, body: object | string) => {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    answer = (response) => response.writeHead(status).end(text);
  };
  const beat = () => client.forNode(nodeId, 'heartbeat', Buffer.from('{}'));

  it('presents its own credential, and asks about the node that it was told', async () => {
    json(200, { challenge: 1 });
    assert.deepEqual(await beat(), { status: 200, body: { challenge: 1 } });
    json(204, '');
    assert.deepEqual(await beat(), { status: 204, body: undefined });
    const [request] = seen;
    assert.equal(request?.url, `/v1/nodes/${nodeId}/heartbeat`);
    assert.equal(request.headers.authorization, 'Bearer the-edge-token');
  });

  it('passes refusals on that are known, whole', async () => {
    const body = { error: { code: 'node.unknown', message: 'No such node.' }, more: 1 };
    json(404, body);
    assert.deepEqual(await beat(), { status: 404, body, code: 'node.unknown' });
    json(404, body);
    await assert.rejects(client.ask('/v1/edge/ca'), isCoded('node.unknown'));
    await assert.rejects(
      client.commands(nodeId, new AbortController().signal),
      isCoded('node.unknown'),
    );
  });

  it('makes one thing of all that is no answer', async () => {
    const wrong: [number, object | string][] = [
      [500, 'Internal Server Error'],
      [502, '<html>'],
      [404, { message: 'Route not found', error: 'Not Found' }],
      [400, { error: { code: 'toString' } }],
      [400, { error: { code: 'edge.unheard_of' } }],
      [200, 'not JSON'],
    ];
    for (const [status, body] of wrong) {
      json(status, body);
      await assert.rejects(beat(), unavailable, JSON.stringify(body));
    }
    answer = (response) => response.destroy();
    await assert.rejects(beat(), unavailable);
    await assert.rejects(client.commands(nodeId, new AbortController().signal), unavailable);
    assert.deepEqual(logged, []);
  });

  it('tells no node that the coordinator takes the edge for a stranger, and logs it', async () => {
    json(401, { error: { code: 'edge.unauthenticated' } });
    await assert.rejects(beat(), unavailable);
    assert.deepEqual(logged, ['edge // the coordinator does not take its token']);
  });

  it('asks for what the edge itself needs', async () => {
    json(200, { ca: 'PEM' });
    assert.deepEqual(await client.ask('/v1/edge/ca'), { ca: 'PEM' });
    assert.deepEqual(await client.ask('/v1/edge/certificate', { csr: 'PEM' }), { ca: 'PEM' });
    const calls = seen.map(({ method, url }) => `${method} ${url}`);
    assert.deepEqual(calls, ['GET /v1/edge/ca', 'POST /v1/edge/certificate']);
  });
});

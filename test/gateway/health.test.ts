import assert from 'node:assert/strict';
import fastify from 'fastify';
import { healthRoute } from '../../gateway/health.ts';
import type { Database } from '../../prisma/client.ts';
import { startGatewayStub, type GatewayStub } from '../support/gateway-stub.ts';

/** Two seconds for an answer, on a machine that is busy. */
const ANSWER_MS_MAX = 5_000;

describe('gateway/health', () => {
  let coordinator: GatewayStub;
  let asked = 0;
  let isHanging = false;
  let url: string;
  let app: ReturnType<typeof fastify>;
  beforeEach(async () => {
    [asked, isHanging] = [0, false];
    coordinator = await startGatewayStub((_path, response) => {
      asked++;
      if (!isHanging) response.end('{}');
    });
    app = fastify({ forceCloseConnections: true });
    const database = { $queryRaw: async () => [] } as unknown as Database;
    healthRoute(app, { database, coordinatorUrl: coordinator.url });
    url = await app.listen({ host: '127.0.0.1', port: 0 });
  });
  afterEach(async () => {
    await app.close();
    await coordinator.stop();
  });

  const health = () => fetch(`${url}/healthz`);

  it('asks once for all who want to know within a second', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, health));
    for (const answer of answers) assert.equal(answer.status, 200);
    assert.equal(asked, 1);
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    assert.equal((await health()).status, 200);
    assert.equal(asked, 2);
  });

  it('says 503, and when to ask again, if the coordinator does not answer', async () => {
    isHanging = true;
    const startedAt = performance.now();
    const answers = await Promise.all(Array.from({ length: 20 }, health));
    assert.ok(performance.now() - startedAt < ANSWER_MS_MAX);
    for (const answer of answers) {
      assert.deepEqual([answer.status, answer.headers.get('retry-after')], [503, '5']);
      assert.deepEqual(await answer.json(), {
        status: 'degraded',
        database: true,
        coordinator: false,
      });
    }
    assert.equal(asked, 1);
  });
});

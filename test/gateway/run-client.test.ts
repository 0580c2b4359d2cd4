import assert from 'node:assert/strict';
import { cancelRequest } from '../../gateway/run-client.ts';
import type { Database } from '../../prisma/client.ts';
import { CodedError } from '../../protocol/errors.ts';
import type { RequestId } from '../../protocol/ids.ts';
import { startGatewayStub, type GatewayStub } from '../support/gateway-stub.ts';
import { freePort } from '../support/servers.ts';

const ID = `req_${'a'.repeat(64)}` as RequestId;

describe('gateway/run-client cancelRequest', () => {
  const asked: string[] = [];
  let latest: string | undefined;
  let status = 204;
  let other: GatewayStub;
  const $queryRaw = async () => (latest ? [{ coordinator: latest }] : []);
  const database = { $queryRaw } as unknown as Database;
  before(async () => {
    other = await startGatewayStub((path, response) => {
      asked.push(path);
      response.writeHead(status).end();
    });
  });
  beforeEach(() => {
    asked.length = 0;
    status = 204;
  });
  after(() => other.stop());

  const cancel = (coordinatorUrl: string) =>
    cancelRequest({ database, coordinatorUrl, intakeToken: 'token' }, ID);
  const isUnreachable = (error: unknown) =>
    error instanceof CodedError && error.code === 'gateway.coordinator_unreachable';

  it('asks the one of the latest attempt if its own is dead', async () => {
    const dead = `http://127.0.0.1:${await freePort()}`;
    latest = other.url;
    await cancel(dead);
    assert.deepEqual(asked, [`POST /v1/intake/requests/${ID}/cancel`]);
    for (latest of [undefined, dead]) await assert.rejects(cancel(dead), isUnreachable);
    assert.equal(asked.length, 1);
  });

  it('asks nobody else if its own has refused', async () => {
    latest = `http://127.0.0.1:${await freePort()}`;
    status = 404;
    await assert.rejects(cancel(other.url), (error) => !isUnreachable(error));
    assert.equal(asked.length, 1);
  });
});

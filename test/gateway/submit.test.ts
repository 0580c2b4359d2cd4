import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { startGatewayStub, type GatewayStub } from '../support/gateway-stub.ts';
import { startLoneGateway, type LoneGateway } from '../support/lone-gateway.ts';
import { ACCOUNT, PARAMETERS } from '../support/seeded.ts';
import { until } from '../support/until.ts';

const ID = `req_${'a'.repeat(64)}`;
const BODY = { model: 'instant', messages: [{ role: 'user', content: 'alpha' }] };
/** Twice the time between two looks at the record. */
const QUIET_MS = 1_000;

/** A coordinator that accepts all that is submitted, and says nothing more. */
describe('gateway: a submitted request', () => {
  let gateway: LoneGateway;
  let coordinator: GatewayStub;
  const open = new Set<ServerResponse>();
  let calls = 0;
  let isPending = false;
  before(async () => {
    coordinator = await startGatewayStub((_path, response, request) => {
      calls++;
      open.add(response);
      response.on('close', () => open.delete(response));
      request.resume();
      response.writeHead(200);
      const accepted = { type: 'accepted', requestId: ID, acceptedAtMs: 0 };
      response.write(`${JSON.stringify({ ...accepted, ...(isPending ? { isPending } : {}) })}\n`);
    });
    gateway = await startLoneGateway({}, coordinator.url);
  });
  after(async () => {
    await gateway.stop();
    await coordinator.stop();
  });

  async function submit() {
    const { status, body } = await gateway.call('POST', '/v1/requests', { body: BODY });
    assert.deepEqual([status, body.id], [202, ID]);
  }
  const quiet = () => new Promise((resolve) => setTimeout(resolve, QUIET_MS));

  it('is left to itself once its run is there', async () => {
    await submit();
    await until(() => open.size === 0, 'its call is over');
    await quiet();
    assert.equal(calls, 1);
  });

  it('is called for again while its run is not there, until its record shows one', async () => {
    [calls, isPending] = [0, true];
    await submit();
    await quiet();
    assert.equal(open.size, 1, 'its call stays');
    for (const response of open) response.destroy();
    await until(() => calls === 2 && open.size === 1, 'it is repeated');
    await gateway.database.request.create({
      data: {
        id: ID,
        intakeKey: 'k',
        accountId: ACCOUNT,
        status: 'running',
        workloadClass: PARAMETERS.workloadClass,
        modelId: PARAMETERS.model,
        parameters: { ...PARAMETERS },
        requesterKey: {},
        reservedWei: 0,
        deadlineAt: new Date(),
      },
    });
    await until(() => open.size === 0, 'its call is over');
    await quiet();
    assert.equal(calls, 2);
  });
});

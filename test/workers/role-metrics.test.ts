import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { INSTANT_MODEL, instantBackend } from '../../bench/instant-backend.ts';
import { spawnRole, type Role } from '../../workers/embedded/process.ts';
import { startCoordination, type Coordination } from '../support/coordination.ts';
import { samplesOf } from '../support/metrics.ts';
import { nodeEnvironment } from '../support/network-edge.ts';
import { startOpenAiServer, type OpenAiServer } from '../support/openai-server.ts';
import { OPERATOR } from '../support/seeded.ts';
import { freePort, testServers } from '../support/servers.ts';
import { until } from '../support/until.ts';

const CHAT = '/v1/chat/completions';
/** An account, an API key, and ids of requests and nodes, as they are written. */
const IDENTITIES = /acct_|key_|plx-|req_|inf_|0x[0-9a-f]{8}|[0-9a-f]{32}/;

/** What each role tells Prometheus after real requests. */
describe('workers: metrics of the roles', () => {
  let network: Coordination;
  let server: OpenAiServer;
  let node: Role;
  let nodePort: number;

  before(async function () {
    this.timeout(120_000);
    network = await startCoordination();
    const { directory } = await testServers();
    const port = await freePort();
    nodePort = await freePort();
    server = await startOpenAiServer(instantBackend(), port);
    node = await spawnRole({
      name: 'node',
      entry: fileURLToPath(new URL('../../workers/node.ts', import.meta.url)),
      logFile: join(directory, `node-${port}.log`),
      env: {
        ...(await nodeEnvironment(network.edge, OPERATOR, join(directory, `keys-node-${port}`))),
        PLX_NODE_NAME: 'measured',
        PLX_NODE_TIER: '1',
        PLX_BACKEND: 'openai',
        PLX_MODEL_ID: INSTANT_MODEL.id,
        PLX_MODEL_DIGEST: INSTANT_MODEL.digest,
        PLX_OPENAI_URL: `http://127.0.0.1:${port}/v1`,
        PLX_NODE_METRICS_PORT: String(nodePort),
      },
    });
    const isActive = async () =>
      (await network.database.node.count({ where: { status: 'active' } })) === 1;
    await until(isActive, 'the node has passed its canary');
  });
  after(async function () {
    this.timeout(60_000);
    await node?.stop();
    await server?.stop();
    await network?.stop();
  });

  const nodeText = async () => (await fetch(`http://127.0.0.1:${nodePort}/metrics`)).text();

  async function chat(body: object, key?: string): Promise<string> {
    const whole = { model: INSTANT_MODEL.id, messages: [{ role: 'user', content: 'one two' }] };
    const headers = key === undefined ? {} : { 'idempotency-key': key };
    const response = await network.chat({ ...whole, max_tokens: 16, ...body }, undefined, 0, {
      headers,
    });
    return response.text();
  }

  it('count what happened, without saying to whom', async () => {
    const before = samplesOf(await nodeText());
    const first = JSON.parse(await chat({}, 'once')) as { id: string };
    assert.equal((JSON.parse(await chat({}, 'once')) as { id: string }).id, first.id);
    const stream = await chat({ stream: true });
    const [, streamed = ''] = /"id":"([^"]+)"/.exec(stream) ?? [];
    for (const id of [first.id, streamed])
      assert.equal((await network.ended(id)).status, 'completed');
    await chat({ model: 'no-such-model' });
    await fetch(`${network.gatewayUrl}/v1/secret-path/plx-0123456789`);

    const gatewayText = await network.metrics('gateway');
    const gateway = samplesOf(gatewayText);
    const calls = (labels: string) => gateway.get(`plx_gateway_calls_total{${labels}}`) ?? 0;
    assert.equal(calls(`route="${CHAT}",method="POST",status="200"`), 3);
    assert.equal(calls(`route="none",method="GET",status="404"`), 1);
    assert.ok(calls(`route="/v1/requests/:id",method="GET",status="200"`) >= 2);
    assert.equal(gateway.get(`plx_gateway_call_duration_seconds_count{route="${CHAT}"}`), 4);
    assert.equal(gateway.get(`plx_gateway_time_to_first_token_seconds_count{route="${CHAT}"}`), 1);
    assert.equal(gateway.get('plx_gateway_open_calls'), 0);
    assert.equal(gateway.get('plx_gateway_open_streams'), 0);
    assert.equal(gateway.get('plx_gateway_errors_total{code="gateway.route_not_found"}'), 1);
    assert.equal(gateway.get('plx_gateway_errors_total{code="receive.unknown_model"}'), 1);
    assert.equal(gateway.get('plx_gateway_idempotent_replays_total'), 1);
    assert.equal(gateway.get('plx_gateway_hangups_cancelled_total'), 0);
    assert.equal(gateway.get('plx_gateway_tokens_total{kind="completion"}'), 6);

    const coordinatorText = await network.metrics('coordinator');
    const coordinator = samplesOf(coordinatorText);
    const of = (name: string) => coordinator.get(`plx_coordinator_${name}`);
    assert.equal(of('requests_accepted_total'), 2);
    assert.equal(of('requests_ended_total{state="completed",code="none"}'), 2);
    for (const step of [
      'receive',
      'schedule',
      'dispatch',
      'execute',
      'prove',
      'validate',
      'settle',
    ])
      assert.equal(of(`step_duration_seconds_count{step="${step}"}`), 2, step);
    assert.equal(of('waiting_units'), 0);
    assert.equal(of('slots'), 1);
    assert.equal(of('slots_free'), 1);
    assert.equal(of('open_reservations'), 0);
    assert.equal(of('database_up'), 1);
    assert.ok((of('database_connections_open') ?? 0) >= 1);
    assert.equal(of('database_connections_wanted'), 0);

    const text = await nodeText();
    const after = samplesOf(text);
    const grown = (name: string) => (after.get(name) ?? 0) - (before.get(name) ?? 0);
    assert.equal(grown('plx_node_units_total{outcome="returned"}'), 2);
    assert.equal(grown('plx_node_unit_duration_seconds_count'), 2);
    assert.equal(grown('plx_node_tokens_total{kind="completion"}'), 4);
    assert.equal(after.get('plx_node_units_running'), 0);
    assert.equal(after.get('plx_node_slots'), 1);
    assert.equal(after.get('plx_node_backend_healthy'), 1);

    for (const each of [gatewayText, coordinatorText, text]) {
      assert.match(each, /^process_resident_memory_bytes \d+$/m);
      const ours = each.split('\n').filter((line) => line.startsWith('plx_'));
      for (const line of ours) assert.doesNotMatch(line, IDENTITIES);
    }
  });

  it('count relayed frames, failures, and what waits', async () => {
    await chat({ stream: true, delivery: 'early' });
    const failed = samplesOf(await network.metrics('coordinator'));
    assert.ok((failed.get('plx_coordinator_frames_relayed_total') ?? 0) >= 3);
    assert.equal(failed.get('plx_coordinator_frames_kept_bytes'), 0);
    const gone = chat({ hardware_tier: 5, deadline_seconds: 5 });
    const oldest = 'plx_coordinator_waiting_oldest_seconds';
    await until(async () => {
      const samples = samplesOf(await network.metrics('coordinator'));
      return samples.get('plx_coordinator_waiting_units') === 1 && (samples.get(oldest) ?? 0) > 0;
    }, 'one waits');
    assert.match(await gone, /capacity_unavailable/);
    const ended =
      'plx_coordinator_requests_ended_total{state="failed",code="schedule.deadline_elapsed"}';
    await until(
      async () => samplesOf(await network.metrics('coordinator')).get(ended) === 1,
      'it is settled',
    );
  });
});

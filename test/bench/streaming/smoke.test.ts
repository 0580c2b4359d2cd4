import assert from 'node:assert/strict';
import { inOwnDirectory } from '../../../bench/own-directory.ts';
import { measureAdded } from '../../../bench/streaming/added.ts';
import { streamOnce, TARGETS } from '../../../bench/streaming/client.ts';
import type { StreamingCluster } from '../../../bench/streaming/cluster.ts';
import { measureOpenStreams } from '../../../bench/streaming/open-streams.ts';
import { startWays } from '../../../bench/streaming/ways.ts';
import { freePorts } from '../../../workers/embedded/ports.ts';

const PACE = { tokens: 5, firstTokenMs: 40, tokenMs: 10 };
const quiet = () => undefined;

/** The scenarios with the relay in the network's place: what they do, not what a network does. */
describe('bench/streaming', () => {
  let cluster: StreamingCluster;

  before(async () => {
    const [backend = 0, relay = 0] = await freePorts(2);
    cluster = await inOwnDirectory('plx-bench-test-', async (directory, stops) => {
      const apiKey = 'plx-of-this-test';
      const nodeArgs = (name: string) => [`--inspect=${name === 'relay' ? relay : backend}`];
      const ways = await startWays({ directory, stops, apiKey, nodeArgs, ...PACE });
      const { backendUrl, relayUrl } = ways;
      const pids = { backend: ways.backend.pid, relay: ways.relay.pid };
      const inspectors = { gateway: relay, coordinator: backend };
      return { backendUrl, relayUrl, gatewayUrl: relayUrl, apiKey, pids, inspectors };
    });
  });

  after(() => cluster.stop());

  it('streams whole answers at the pace of the backend, by each way', async () => {
    for (const target of TARGETS) {
      const texts: string[] = [];
      const request = { prompt: 'hello', maxTokens: 5 };
      const streamed = await streamOnce(cluster, target, request, (text) => texts.push(text));
      assert.deepEqual(
        texts,
        Array.from({ length: 5 }, () => 'token '),
      );
      assert.equal(streamed.characters, 30);
      // Timers may be a millisecond early.
      assert.ok(streamed.firstTokenMs > 39, String(streamed.firstTokenMs));
      assert.ok(streamed.totalMs > 79, String(streamed.totalMs));
    }
  });

  it('lets nobody through the relay without the key', async () => {
    const stranger = { ...cluster, apiKey: 'plx-of-a-stranger' };
    const request = { prompt: 'hello', maxTokens: 5 };
    await assert.rejects(streamOnce(stranger, 'relay', request), /The relay answered 401/);
  });

  it('measures all ways in turns', async () => {
    const plan = { inFlightLevels: [1, 2], repetitions: 2, secondsPerRun: 0.2, warmUpSeconds: 0 };
    const runs = await measureAdded(cluster, { ...plan, pace: PACE }, quiet);
    assert.deepEqual(runs.map(({ target }) => target).slice(0, 6), [
      'backend',
      'relay',
      'network',
      'relay',
      'network',
      'backend',
    ]);
    assert.equal(runs.length, 12);
    for (const run of runs) assert.ok(run.totalP50Ms >= run.firstTokenP50Ms, run.target);
  });

  it('opens streams, and measures them idle, slow and ended', async () => {
    const plan = { levels: [4, 20], secondsPerRun: 1, settledSeconds: 0.1, tokensPerSecond: 40 };
    const { levels, none, idle, slow, ended } = await measureOpenStreams(cluster, plan, quiet);
    assert.deepEqual(
      levels.map(({ streams }) => streams),
      [4, 20],
    );
    assert.deepEqual(
      [none, idle, slow].map(({ streams }) => streams),
      [0, 20, 20],
    );
    assert.equal(idle.tokensPerSecond, 0);
    assert.ok(slow.tokensPerSecond > 0);
    assert.ok(ended.gateway.rssBytes > ended.gateway.heapBytes && ended.gateway.heapBytes > 0);
  });
});

import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDatabase } from '../../prisma/client.ts';
import { EMBEDDED_MODEL_ID } from '../../workers/embedded/model.ts';
import { startNetwork, type Network } from '../../workers/embedded/network.ts';
import { balances } from '../support/seeded.ts';
import { until } from '../support/until.ts';

/** Twice each; the network itself gives a part up only after five ends in a row. */
const ROUNDS = 2;
const REQUESTS_PER_OUTAGE = 4;
const ENDED_WITHIN_MS = 600_000;

/** Every part is killed again and again while requests run: none is lost, none is paid twice. */
describe('deep: outages', function () {
  this.timeout(1_200_000);
  let directory: string;
  let network: Network;
  const accepted: string[] = [];

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plx-outages-'));
    await chmod(directory, 0o755);
    const nodes = ['a', 'b', 'c'].map((letter, index) => ({
      name: `node-${index + 1}`,
      operator: `operator-${letter}`,
      tier: index + 1,
    }));
    network = await startNetwork({
      dataDir: directory,
      ports: {},
      temporalCliPath: process.env['TEMPORAL_CLI_PATH'] ?? '',
      modelPath: process.env['MODEL_PATH'] ?? '',
      nodes,
      log: () => {},
      onProgress: () => {},
      onExit: () => {},
    });
  });
  after(async () => {
    await network.stop();
    await rm(directory, { recursive: true, force: true });
  });

  const call = (path: string, body?: object) =>
    fetch(`${network.gatewayUrl}${path}`, {
      method: body ? 'POST' : 'GET',
      headers: { authorization: `Bearer ${network.apiKey}`, 'content-type': 'application/json' },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });

  /** Until it is accepted: what is refused during an outage is as if it had never been asked. */
  async function submit(text: string): Promise<void> {
    const body = {
      model: EMBEDDED_MODEL_ID,
      messages: [{ role: 'user', content: text }],
      max_tokens: 48,
      temperature: 0,
      deadline_seconds: 3_600,
    };
    await until(async () => {
      const response = await call('/v1/requests', body).catch(() => undefined);
      if (response?.status !== 202) {
        await sleep(250);
        return false;
      }
      accepted.push(((await response.json()) as { id: string }).id);
      return true;
    }, `${text} is accepted`);
  }

  for (let round = 1; round <= ROUNDS; round++)
    for (const name of ['postgresql', 'temporal', 'coordinator', 'gateway', 'node-1', 'node-2'])
      it(`starts ${name} again after kill -9 under load, round ${round}`, async () => {
        for (let index = 0; index < REQUESTS_PER_OUTAGE; index++)
          await submit(`Tell me about the number ${accepted.length + index}.`);
        const { pid } = network.part(name);
        process.kill(pid, 'SIGKILL');
        const isAgain = () => {
          try {
            return network.part(name).pid !== pid;
          } catch {
            return false;
          }
        };
        await until(isAgain, `${name} runs again`);
      });

  it('has ended every request that was accepted, each with its answer', async () => {
    const untilMs = Date.now() + ENDED_WITHIN_MS;
    for (const id of accepted)
      for (;;) {
        const response = await call(`/v1/requests/${id}`).catch(() => undefined);
        const view = response?.ok
          ? ((await response.json()) as { status: string; finished_at: string | null })
          : undefined;
        if (view?.finished_at) {
          assert.equal(view.status, 'completed', `${id}: ${JSON.stringify(view)}`);
          break;
        }
        assert.ok(Date.now() < untilMs, `${id} is still ${view?.status}`);
        await sleep(500);
      }
    assert.equal(accepted.length, ROUNDS * 6 * REQUESTS_PER_OUTAGE);
  });

  it('has charged each once, and holds nothing back', async () => {
    const database = openDatabase(network.databaseUrl, 2);
    try {
      const wei = await balances(database);
      const reserved = Object.entries(wei).filter(([id]) => id.endsWith(':reserved'));
      assert.deepEqual(
        reserved.map(([, each]) => each),
        [0n],
      );
      assert.equal(
        Object.values(wei).reduce((sum, amount) => sum + amount, 0n),
        0n,
      );
      const [paid] = await database.$queryRaw<{ wei: string; times: number; units: number }[]>`
        SELECT sum(amount_wei)::text AS wei, count(*)::int AS times,
               (SELECT count(*)::int FROM request WHERE status = 'completed') AS units
        FROM ledger_transfer WHERE purpose = 'capture'`;
      assert.equal(BigInt(paid?.wei ?? 0), wei['usage']);
      assert.equal(paid?.times, paid?.units);
    } finally {
      await database.$disconnect();
    }
  });
});

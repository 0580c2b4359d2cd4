import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI from 'openai';
import { EMBEDDED_MODEL_ID } from '../../workers/embedded/model.ts';
import type { Network } from '../../workers/embedded/network.ts';
import { startTestNetwork } from '../support/test-network.ts';
import { until } from '../support/until.ts';

/** An orderly stop in the middle of a request. */
describe('network: stopped and started again', function () {
  this.timeout(300_000);
  let directory: string;
  let network: Network;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plx-network-'));
    await chmod(directory, 0o755);
    network = await startTestNetwork(directory);
  });
  after(async () => {
    await network.stop();
    await rm(directory, { recursive: true, force: true });
  });

  const askForStream = () =>
    new OpenAI({
      baseURL: `${network.gatewayUrl}/v1`,
      apiKey: network.apiKey,
    }).chat.completions.create({
      model: EMBEDDED_MODEL_ID,
      messages: [{ role: 'user', content: 'Write a long story about a lighthouse.' }],
      max_tokens: 400,
      temperature: 0,
      seed: 1,
      stream: true,
    });

  it('resumes a running request after everything was stopped and started again', async () => {
    let text = '';
    const read = async () => {
      for await (const chunk of await askForStream()) text += chunk.choices[0]?.delta.content ?? '';
    };
    const answer = read().catch((error: unknown) => error);
    await until(() => text !== '', 'the answer has begun');
    const url = network.databaseUrl;
    await network.stop();
    await answer;
    network = await startTestNetwork(directory);
    assert.notEqual(network.databaseUrl, url, 'it was started on other ports');
    const { Client } = await import('pg');
    const database = new Client({ connectionString: network.databaseUrl });
    await database.connect();
    const untilMs = Date.now() + 90_000;
    for (;;) {
      const { rows } = await database.query<{ status: string }>(
        'SELECT status FROM request ORDER BY accepted_at DESC LIMIT 1',
      );
      if (rows[0]?.status === 'completed') break;
      assert.ok(Date.now() < untilMs, `still ${rows[0]?.status}`);
      assert.notEqual(rows[0]?.status, 'failed');
      await sleep(250);
    }
    await database.end();
  });
});

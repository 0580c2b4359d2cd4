import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Servers, Settled } from '../../../workers/embedded/network.ts';
import { roleEnvironments } from '../../../workers/embedded/role-environments.ts';

const PASSED_ON = {
  PLX_SAMPLING_RATES: 'ai.inference=0.5',
  PLX_SAMPLING_EPOCH_SECONDS: '60',
  PLX_JOIN: 'token',
  PLX_CERTIFICATE_SECONDS: '120',
  PLX_COORDINATOR_METRICS_PORT: '9465',
  PLX_EDGE_METRICS_PORT: '9464',
  PLX_PUBLIC_URL: 'https://api.example.net',
  PLX_TRUSTED_PROXIES: '10.0.0.0/8',
  PLX_GATEWAY_METRICS_PORT: '9466',
};

describe('workers/embedded/role-environments', () => {
  let dataDir: string;
  const initial = { ...process.env };
  before(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'parallelix-roles-'));
    for (const name of Object.keys(PASSED_ON)) delete process.env[name];
  });
  after(async () => {
    for (const name of Object.keys(PASSED_ON)) {
      delete process.env[name];
      if (initial[name] !== undefined) process.env[name] = initial[name];
    }
    await rm(dataDir, { recursive: true });
  });

  it('passes on what is set, to the role that reads it alone', async () => {
    const ports = { gateway: 1, coordinator: 2, edge: 3 };
    const settled = { dataDir, ports, modelPath: 'm', nodes: [] } as unknown as Settled;
    const servers = { databaseUrl: 'd', temporalAddress: 't' } as unknown as Servers;
    const passedTo = async (role: string) => {
      const environment = (await roleEnvironments(settled, servers)).get(role) ?? {};
      return Object.keys(PASSED_ON).filter(
        (name) => environment[name] === PASSED_ON[name as keyof typeof PASSED_ON],
      );
    };
    assert.deepEqual(await passedTo('coordinator'), []);
    Object.assign(process.env, PASSED_ON);
    const names = Object.keys(PASSED_ON);
    assert.deepEqual(await passedTo('coordinator'), names.slice(0, 5));
    assert.deepEqual(await passedTo('edge'), names.slice(5, 6));
    assert.deepEqual(await passedTo('gateway'), names.slice(6));
  });
});

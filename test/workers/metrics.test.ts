import assert from 'node:assert/strict';
import { Registry } from 'prom-client';
import { gauge, serveMetrics } from '../../workers/metrics.ts';

describe('workers/metrics', () => {
  it('serves what is registered, and what the process uses, at one path', async () => {
    const metrics: Registry = new Registry();
    let value = 3;
    gauge(metrics, 'plx_test_things', 'Things.', () => value);
    const server = await serveMetrics(metrics, 0);
    try {
      const url = `http://127.0.0.1:${server.port}`;
      value = 5;
      const response = await fetch(`${url}/metrics`);
      assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
      const text = await response.text();
      assert.match(text, /^plx_test_things 5$/m);
      assert.match(text, /^process_resident_memory_bytes \d+$/m);
      assert.equal((await fetch(url)).status, 404);
      assert.equal((await fetch(`${url}/metrics`, { method: 'POST' })).status, 404);
    } finally {
      server.close();
    }
  });
});

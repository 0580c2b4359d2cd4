import assert from 'node:assert/strict';
import { Registry } from 'prom-client';
import { registerGauges } from '../../edge/metrics.ts';
import { countRefusals } from '../../edge/refusals.ts';

function scene() {
  const lines: Record<string, unknown>[] = [];
  const metrics = new Registry();
  const log = { warn: (line: object) => void lines.push({ ...line }) };
  return { lines, metrics, refusals: countRefusals(log as never, metrics) };
}

describe('edge/refusals', () => {
  it('counts each, and logs the first of a flood', async () => {
    const { lines, metrics, refusals } = scene();
    for (let count = 0; count < 1_000; count++)
      refusals.refused('edge.too_many', { nodeId: 'nd_a', detail: `poll ${count}` });
    refusals.refused('edge.too_many', { nodeId: 'nd_b' });
    refusals.refused('edge.forbidden', { nodeId: 'nd_a' });
    refusals.refused('edge.unauthenticated', { address: '192.0.2.1' });
    assert.deepEqual(lines, [
      { code: 'edge.too_many', nodeId: 'nd_a', detail: 'poll 0' },
      { code: 'edge.too_many', nodeId: 'nd_b' },
      { code: 'edge.forbidden', nodeId: 'nd_a' },
      { code: 'edge.unauthenticated', address: '192.0.2.1' },
    ]);
    assert.match(await metrics.metrics(), /plx_edge_refused_total\{code="edge.too_many"\} 1001/);
  });

  it('logs little of what a stranger sent, and only what can be printed', () => {
    const { lines, refusals } = scene();
    refusals.refused('edge.forbidden', { detail: `\n\u001b[31m${'x'.repeat(1_000)}` });
    assert.equal(lines[0]?.['detail'], `??[31m${'x'.repeat(194)}`);
  });

  it('logs a flood of strangers only so far, and counts all of it', async () => {
    const { lines, metrics, refusals } = scene();
    for (let count = 0; count < 25_000; count++)
      refusals.refused('edge.unauthenticated', { address: String(count) });
    assert.ok(lines.length >= 500 && lines.length < 1_500, `${lines.length} lines`);
    const text = await metrics.metrics();
    assert.match(text, /plx_edge_refused_total\{code="edge.unauthenticated"\} 25000/);
  });
});

describe('edge/metrics', () => {
  it('are read when somebody looks', async () => {
    const { metrics, refusals } = scene();
    refusals.refused('edge.forbidden', {});
    registerGauges(metrics, {
      connections: () => 3,
      polls: () => 5,
      inFlight: () => 7,
      certificateExpiresSeconds: () => 11,
    });
    const text = await metrics.metrics();
    for (const line of [
      'plx_edge_refused_total{code="edge.forbidden"} 1',
      'plx_edge_grpc_connections 3',
      'plx_edge_open_polls 5',
      'plx_edge_tasks_in_flight 7',
      'plx_edge_certificate_expires_seconds 11',
    ])
      assert.ok(text.includes(line), line);
  });
});

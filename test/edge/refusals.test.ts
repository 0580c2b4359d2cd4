import assert from 'node:assert/strict';
import { Registry } from 'prom-client';
import { countRefusals } from '../../edge/refusals.ts';

describe('edge/refusals', () => {
  const start = () => {
    const [metrics, logged] = [new Registry(), [] as object[]];
    const { refused } = countRefusals({ warn: (fields: object) => logged.push(fields) }, metrics);
    const count = async () => {
      const { values = [] } =
        (await metrics.getSingleMetric('plx_edge_refused_total')?.get()) ?? {};
      return values.reduce((sum, { value }) => sum + value, 0);
    };
    return { refused, logged, count };
  };

  it('counts each, and logs a flood once', async () => {
    const { refused, logged, count } = start();
    for (let index = 0; index < 5; index++)
      refused('edge.forbidden', { nodeId: 'a', detail: 'line\nbreak' });
    refused('edge.too_many', { nodeId: 'a' });
    assert.deepEqual(logged, [
      { code: 'edge.forbidden', nodeId: 'a', detail: 'line?break' },
      { code: 'edge.too_many', nodeId: 'a' },
    ]);
    assert.equal(await count(), 6);
  });

  it('logs no more than so many floods at once, whoever they come from', async () => {
    const { refused, logged, count } = start();
    const startedAtMs = performance.now();
    for (let index = 0; index < 60_000; index++) refused('edge.forbidden', { nodeId: `${index}` });
    assert.ok(performance.now() - startedAtMs < 5_000);
    assert.equal(logged.length, 10_000);
    assert.equal(await count(), 60_000);
  });
});

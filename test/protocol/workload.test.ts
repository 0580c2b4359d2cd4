import assert from 'node:assert/strict';
import { isWorkloadClass, WORKLOAD_CLASSES } from '../../protocol/workload.ts';

describe('protocol/workload', () => {
  it('has AI inference as the one live class, served whole', () => {
    assert.deepEqual(WORKLOAD_CLASSES, {
      'ai.inference': {
        path: 'inference',
        runtime: 'model',
        comparator: { name: 'llm', version: 1 },
        complexityMeasure: 'tokens',
      },
    });
  });

  it('tells live classes from other names', () => {
    assert.ok(isWorkloadClass('ai.inference'));
    for (const name of ['', 'AI.inference', 'ai.inference ', 'rendering', 'toString', '__proto__'])
      assert.ok(!isWorkloadClass(name), name);
  });
});

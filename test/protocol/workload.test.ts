import assert from 'node:assert/strict';
import { comparatorOf } from '../../protocol/compare/comparators.ts';
import { isWorkloadClass, WORKLOAD_CLASSES } from '../../protocol/workload.ts';

describe('protocol/workload', () => {
  it('has AI inference as the one live class, served whole', () => {
    assert.deepEqual(WORKLOAD_CLASSES, {
      'ai.inference': {
        path: 'inference',
        runtime: 'model',
        comparator: { name: 'llm', version: 1 },
        equivalence: 'required',
        honestErrorRate: 0.001,
        samplingRate: 0.05,
        complexityMeasure: 'tokens',
      },
    });
  });

  it('says of each class what its comparator says', () => {
    for (const { comparator, equivalence } of Object.values(WORKLOAD_CLASSES))
      assert.equal(comparatorOf(comparator.name, comparator.version).equivalence, equivalence);
  });

  it('tells live classes from other names', () => {
    assert.ok(isWorkloadClass('ai.inference'));
    for (const name of ['', 'AI.inference', 'ai.inference ', 'rendering', 'toString', '__proto__'])
      assert.ok(!isWorkloadClass(name), name);
  });
});

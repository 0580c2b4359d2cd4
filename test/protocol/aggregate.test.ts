import assert from 'node:assert/strict';
import { aggregate } from '../../protocol/aggregate.ts';
import { WORKLOAD_CLASSES, type WorkloadClassName } from '../../protocol/workload.ts';

describe('protocol/aggregate', () => {
  it('hands on the one result of a whole request as it is', () => {
    const result = { text: 'whole' };
    assert.equal(aggregate('ai.inference', [result]), result);
  });

  it('refuses no result, and more than one', () => {
    for (const results of [[], [1, 2], [1, 2, 3]])
      assert.throws(
        () => aggregate('ai.inference', results),
        new RangeError(`a whole request has one result, not ${results.length}`),
      );
  });

  it('refuses a class whose parts have to be merged', () => {
    const table: Record<string, unknown> = WORKLOAD_CLASSES;
    table['rendering'] = { ...WORKLOAD_CLASSES['ai.inference'], path: 'general' };
    try {
      assert.throws(
        () => aggregate('rendering' as WorkloadClassName, [1]),
        new RangeError('rendering has to be aggregated by its dependency graph'),
      );
    } finally {
      delete table['rendering'];
    }
  });
});

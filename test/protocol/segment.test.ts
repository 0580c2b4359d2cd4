import assert from 'node:assert/strict';
import { formatRequestId } from '../../protocol/ids.ts';
import { segment } from '../../protocol/segment.ts';
import { WORKLOAD_CLASSES, type WorkloadClassName } from '../../protocol/workload.ts';

const requestId = formatRequestId(new Uint8Array(32).fill(1));

describe('protocol/segment', () => {
  it('keeps an inference request whole: it is its own only unit', () => {
    assert.deepEqual(segment(requestId, 'ai.inference'), { kind: 'whole', units: [requestId] });
  });

  it('refuses a class that has to be split', () => {
    const table: Record<string, unknown> = WORKLOAD_CLASSES;
    table['rendering'] = { ...WORKLOAD_CLASSES['ai.inference'], path: 'general' };
    try {
      assert.throws(
        () => segment(requestId, 'rendering' as WorkloadClassName),
        new RangeError('rendering has to be segmented by its dependency graph'),
      );
    } finally {
      delete table['rendering'];
    }
  });
});

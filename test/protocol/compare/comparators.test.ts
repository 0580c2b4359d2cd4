import assert from 'node:assert/strict';
import type { ComparatorName } from '../../../protocol/compare/comparator.ts';
import { comparatorOf, CURRENT_VERSIONS } from '../../../protocol/compare/comparators.ts';
import { WORKLOAD_CLASSES } from '../../../protocol/workload.ts';

const NAMES = Object.keys(CURRENT_VERSIONS) as ComparatorName[];

describe('protocol/compare/comparators', () => {
  it('has every version of each, and no other', () => {
    for (const name of NAMES) {
      for (let version = 1; version <= CURRENT_VERSIONS[name]; version++) {
        const comparator = comparatorOf(name, version);
        assert.deepEqual([comparator.name, comparator.version], [name, version]);
      }
      for (const version of [0, CURRENT_VERSIONS[name] + 1, NaN])
        assert.throws(() => comparatorOf(name, version), RangeError);
    }
  });

  it('has the one that each workload class names, in its current version', () => {
    for (const { comparator } of Object.values(WORKLOAD_CLASSES)) {
      assert.equal(comparatorOf(comparator.name, comparator.version).name, comparator.name);
      assert.equal(comparator.version, CURRENT_VERSIONS[comparator.name]);
    }
  });
});

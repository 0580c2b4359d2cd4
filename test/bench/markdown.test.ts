import assert from 'node:assert/strict';
import { mebibytes, range, table } from '../../bench/markdown.ts';

describe('bench/markdown', () => {
  it('writes a table', () => {
    const rows: readonly string[][] = [['1', '2']];
    assert.equal(table(['a', 'b'], rows), '| a | b |\n| --- | --- |\n| 1 | 2 |');
  });

  it('writes the middle of repetitions first, then their ends', () => {
    assert.equal(range([3, 1, 2], 1), '**2.0** (1.0–3.0)');
    assert.equal(mebibytes(3 * 2 ** 20), '3 MiB');
  });
});

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EDGE_LIMITS } from '../../edge/limits.ts';

const ROOT = join(import.meta.dirname, '../..');

const text: string = await readFile(join(ROOT, 'docs/configuration.md'), 'utf8');

describe('docs/configuration.md', () => {
  it('has the limits of an edge as they are', () => {
    const rows = [...text.matchAll(/^\| `(\w+)` +\| (\d+) +\|/gm)];
    const documented = Object.fromEntries(
      rows.map(([, name = '', value]) => [name, Number(value)]),
    );
    assert.deepEqual(documented, EDGE_LIMITS);
  });
});

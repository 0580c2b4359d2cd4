import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EDGE_LIMITS } from '../../edge/limits.ts';
import { GATEWAY_LIMITS } from '../../gateway/limits.ts';

const ROOT = join(import.meta.dirname, '../..');

const text: string = await readFile(join(ROOT, 'docs/configuration.md'), 'utf8');

/** The limits in the table whose head begins so. */
function documented(head: string): Record<string, number> {
  const table = text.slice(text.indexOf(`| ${head} `)).split('\n\n')[0] ?? '';
  const rows = [...table.matchAll(/^\| `(\w+)` +\| (\d+) +\|/gm)];
  return Object.fromEntries(rows.map(([, name = '', value]) => [name, Number(value)]));
}

describe('docs/configuration.md', () => {
  it('has the limits of an edge as they are', () => {
    assert.deepEqual(documented('Limit  '), EDGE_LIMITS);
  });

  it('has the limits of a gateway as they are', () => {
    assert.deepEqual(documented('Limit of a gateway'), GATEWAY_LIMITS);
  });
});

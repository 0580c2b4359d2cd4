import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { verificationTables } from '../../bench/trust/tables.ts';

const path = join(import.meta.dirname, '../../docs/verification.md');
const text: string = await readFile(path, 'utf8');

describe('docs/verification.md', () => {
  it('has exactly the tables that the closed forms give', () => {
    const tables = text.match(/(?:^\|.*\n)+/gm) ?? [];
    // Two are of words.
    const isOfNumbers = (table: string) => !/^\| (?:It proves|Outcome) /.test(table);
    const documented = tables.map((table) => table.trimEnd()).filter(isOfNumbers);
    assert.deepEqual(documented, verificationTables());
    assert.equal(tables.length, documented.length + 2);
  });

  it('never calls verified what is randomly checked', () => {
    const words = text.replaceAll(/\]\([^)]*\)|`[^`]*`|"verified"|verified uptime/g, '');
    assert.doesNotMatch(words, /\bverified\b/i);
  });
});

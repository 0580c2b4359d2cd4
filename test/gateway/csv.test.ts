import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { csv } from '../../gateway/csv.ts';

/** A reader of RFC 4180, written apart from the writer. */
function read(text: string): string[][] {
  const rows: string[][] = [];
  const fields = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/gy;
  let row: string[] = [];
  for (const [, quoted, plain, end] of text.matchAll(fields)) {
    row.push(quoted === undefined ? (plain ?? '') : quoted.replaceAll('""', '"'));
    if (end === ',') continue;
    rows.push(row);
    row = [];
  }
  return rows;
}

describe('gateway/csv', () => {
  it('writes any text so that it reads back the same', () => {
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: fc.constantFrom('"', ',', '\r', '\n', 'a') }),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(text, text)), (rows) => {
        const written = csv(
          [
            ['first', ([first]: readonly string[]) => first ?? null],
            ['the "second"', ([, second]: readonly string[]) => second ?? null],
          ],
          rows,
        );
        assert.deepEqual(read(written), [['first', 'the "second"'], ...rows]);
      }),
    );
  });

  it('leaves a field empty for what isn’t there', () => {
    const columns = [['n', (row: { n: number | null }) => row.n]] as const;
    assert.equal(csv(columns, [{ n: 1 }, { n: null }]), 'n\r\n1\r\n\r\n');
  });
});

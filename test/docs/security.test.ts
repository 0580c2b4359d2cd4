import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');

const text: string = await readFile(join(ROOT, 'docs/security.md'), 'utf8');

/** Rows of the claims: the file of a test, and words of its title. */
const claims = [...text.matchAll(/^\| (.+?) +\| `(test\/[^`]+)`: “(.+?)” +\|$/gm)].map(
  ([, claim = '', file = '', title = '']) => ({ claim, file, title }),
);

describe('docs/security.md', () => {
  it('names a test for each claim', () => {
    const section = text.slice(text.indexOf('## Claims'), text.indexOf('## Not protected'));
    const rows = section.split('\n').filter((line) => /^\| (?!-|Claim )/.test(line));
    assert.ok(rows.length > 20);
    assert.equal(claims.length, rows.length);
  });

  for (const { file, title } of claims)
    it(`names a test that exists: ${file}, ${title}`, async () => {
      const source = await readFile(join(ROOT, file), 'utf8');
      const titles = [...source.matchAll(/\bit\(\s*(['`])(.*?)\1,/g)].map(([, , found]) =>
        (found ?? '').replaceAll("\\'", "'"),
      );
      assert.ok(
        titles.some((found) => found.includes(title)),
        `${file} has no test “${title}”`,
      );
    });
});

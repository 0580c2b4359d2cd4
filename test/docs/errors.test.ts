import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ERRORS, errorDefinition, type ErrorCode } from '../../protocol/errors.ts';
import { readSources } from '../support/source-files.ts';

const ROOT = join(import.meta.dirname, '../..');

/** Rows of the tables in docs/errors.md: code, step, recovery, status, meaning. */
async function documented(): Promise<Map<string, string[]>> {
  const text = await readFile(join(ROOT, 'docs/errors.md'), 'utf8');
  const rows = text.split('\n').filter((line) => line.startsWith('| `'));
  const cells = rows.map((row) => row.split('|').map((cell) => cell.trim()));
  return new Map(cells.map(([, code = '', ...rest]) => [code.replaceAll('`', ''), rest]));
}

describe('docs/errors.md', () => {
  it('has exactly the codes of protocol/errors.ts', async () => {
    assert.deepEqual([...(await documented()).keys()].toSorted(), Object.keys(ERRORS).toSorted());
  });

  it('says of each code what the code says', async () => {
    for (const [code, [step, recovery, status, meaning, advice]] of await documented()) {
      const definition = errorDefinition(code as ErrorCode);
      const { blamesNode, httpStatus, message } = definition;
      assert.equal(step, definition.step, code);
      assert.equal(recovery, definition.recovery + (blamesNode ? ', flag' : ''), code);
      assert.equal(status, String(httpStatus), code);
      assert.equal(meaning, message, code);
      assert.ok(advice, `${code} has no advice`);
    }
  });

  it('has no code that nothing uses', async () => {
    const elsewhere = [
      '.git',
      '.data',
      '.tools',
      'node_modules',
      'test',
      'docs',
      'prisma/generated',
    ];
    const sources = await readSources(
      ROOT,
      (path) => elsewhere.includes(path) || path === 'protocol/errors.ts',
    );
    const used = sources.flatMap(({ lines }) => lines).join('\n');
    for (const code of Object.keys(ERRORS)) assert.ok(used.includes(`'${code}'`), code);
  });
});

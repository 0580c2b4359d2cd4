import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ERRORS, errorDefinition, type ErrorCode } from '../../protocol/errors.ts';
import { readSources } from '../support/source-files.ts';

const ROOT = join(import.meta.dirname, '../..');

const text = await readFile(join(ROOT, 'docs/errors.md'), 'utf8');

/** Rows of the tables in docs/errors.md: code, step, recovery, status, meaning, advice. */
const documented = text
  .split('\n')
  .filter((line) => line.startsWith('| `'))
  .map((row) => row.split('|').map((cell) => cell.trim()))
  .map(([, code = '', ...rest]) => [code.replaceAll('`', ''), rest] as const);

describe('docs/errors.md', () => {
  it('has exactly the codes of protocol/errors.ts', () => {
    const codes = documented.map(([code]) => code);
    assert.deepEqual(codes.toSorted(), Object.keys(ERRORS).toSorted());
  });

  it('explains every recovery that a code has', () => {
    for (const { recovery } of Object.values(ERRORS))
      assert.ok(text.includes(`- \`${recovery}\`: `), recovery);
  });

  it('says of each code what the code says', () => {
    for (const [code, [step, recovery, status, meaning, advice]] of documented) {
      const definition = errorDefinition(code as ErrorCode);
      const { blamesNode, httpStatus, message } = definition;
      assert.equal(step, definition.step, code);
      assert.equal(recovery, definition.recovery + (blamesNode ? ', flag' : ''), code);
      assert.equal(status, String(httpStatus), code);
      assert.equal(meaning, message, code);
      assert.ok(advice, `${code} has no advice`);
    }
  });

  it('has the names by which the API tells codes that apps know by others', () => {
    const renamed = documented.filter(([code]) => errorDefinition(code as ErrorCode).apiCode);
    assert.ok(renamed.length > 0);
    for (const [code, cells] of renamed) {
      const { apiCode } = errorDefinition(code as ErrorCode);
      assert.ok(cells.at(4)?.includes(`\`${apiCode}\``), code);
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

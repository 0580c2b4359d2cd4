import assert from 'node:assert/strict';
import { cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundleKey, workflowBundle } from '../../workers/workflow-bundle.ts';
import '../support/quiet-temporal.ts';

describe('workers/workflow-bundle', () => {
  let cacheDirectory: string;
  const warnings: string[] = [];
  const log = { warn: (_fields: object, message: string) => void warnings.push(message) };
  beforeEach(async () => {
    cacheDirectory = await mkdtemp(join(tmpdir(), 'plx-bundle-'));
    warnings.length = 0;
  });
  afterEach(() => rm(cacheDirectory, { recursive: true }));

  const kept = async () => {
    const names = await readdir(cacheDirectory);
    assert.equal(names.length, 1, names.join());
    return join(cacheDirectory, names[0] ?? '');
  };

  it('bundles once, with the converter, and uses what it kept', async () => {
    const { code } = await workflowBundle({ log, cacheDirectory });
    assert.ok(code.includes('workflows/inference.ts') && code.includes('protocol/lifecycle.ts'));
    assert.ok(code.includes('workflows/payload-converter.ts'));
    const file = await kept();
    const { mtimeMs } = await stat(file);
    assert.equal((await workflowBundle({ log, cacheDirectory })).code, code);
    assert.equal((await stat(file)).mtimeMs, mtimeMs, 'it was bundled again');
    assert.deepEqual(warnings, []);
  });

  it('never uses a damaged one', async () => {
    const { code } = await workflowBundle({ log, cacheDirectory });
    const file = await kept();
    const whole = await readFile(file, 'utf8');
    for (const damaged of [whole.slice(0, -100), whole.replace('inference', 'interface'), '']) {
      assert.notEqual(damaged, whole);
      await writeFile(file, damaged);
      assert.equal((await workflowBundle({ log, cacheDirectory })).code, code);
      assert.equal(await readFile(await kept(), 'utf8'), whole);
    }
  });

  it('has another name when a source or an installed package is another', async () => {
    const root = join(import.meta.dirname, '../..');
    for (const folder of ['workflows', 'protocol'])
      await cp(join(root, folder), join(cacheDirectory, folder), { recursive: true });
    const key = await bundleKey(root, 'viem 2.57.20');
    assert.equal(await bundleKey(cacheDirectory, 'viem 2.57.20'), key);
    const keys = new Set([key, await bundleKey(root, 'viem 2.57.21')]);
    for (const path of ['workflows/unit.ts', 'protocol/receive.ts', 'protocol/new.ts']) {
      await writeFile(join(cacheDirectory, path), 'export {};');
      keys.add(await bundleKey(cacheDirectory, 'viem 2.57.20'));
    }
    assert.equal(keys.size, 5);
  });

  it('keeps only the latest few', async () => {
    for (let n = 0; n < 8; n++) await writeFile(join(cacheDirectory, `${n}.js`), '');
    const { code } = await workflowBundle({ log, cacheDirectory });
    const names = await readdir(cacheDirectory);
    assert.equal(names.length, 5);
    const texts = await Promise.all(
      names.map((name) => readFile(join(cacheDirectory, name), 'utf8')),
    );
    assert.ok(texts.some((text) => text.endsWith(code)));
  });

  it('works, and says so, where nothing can be kept', async () => {
    const blocked = join(cacheDirectory, 'file');
    await writeFile(blocked, '');
    const { code } = await workflowBundle({ log, cacheDirectory: join(blocked, 'cache') });
    assert.ok(code.includes('workflows/inference.ts'));
    assert.match(warnings.join(), /was not kept/);
  });
});

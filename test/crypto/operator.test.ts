import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createOperatorKey, operatorAddress, readOperatorKey } from '../../crypto/operator.ts';
import vectors from '../../protocol/vectors/binding.json' with { type: 'json' };

describe('crypto/operator', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plx-key-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it('draws another key for each account, each in a file that only its owner reads', async () => {
    const files = ['a', 'b'].map((name) => join(directory, 'new', name));
    const keys = await Promise.all(files.map(createOperatorKey));
    assert.notEqual(keys[0], keys[1]);
    for (const [index, file] of files.entries()) {
      assert.equal((await stat(file)).mode & 0o777, 0o600);
      assert.equal(await readOperatorKey(file), keys[index]);
    }
  });

  it('makes one key, whole, however many are made at once', async () => {
    const file = join(directory, 'key');
    const made = await Promise.allSettled(Array.from({ length: 8 }, () => createOperatorKey(file)));
    const keys = made.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
    assert.equal(keys.length, 1);
    for (const each of made)
      if (each.status === 'rejected')
        assert.equal((each.reason as { code: string }).code, 'EEXIST');
    assert.deepEqual([await readOperatorKey(file)], keys);
    assert.deepEqual(await readdir(directory), ['key']);
  });

  it('reads keys as others write them, and refuses what is none without quoting it', async () => {
    const file = join(directory, 'key');
    assert.equal(await readOperatorKey(file), undefined);
    for (const { privateKey, address } of vectors.cases)
      for (const text of [privateKey, `${privateKey.slice(2)}\n`, privateKey.toUpperCase()]) {
        await writeFile(file, text.replace(/^0X/, '0x'), { mode: 0o600 });
        assert.equal(operatorAddress((await readOperatorKey(file)) ?? '0x'), address);
      }
    for (const text of ['', 'a'.repeat(63), 'a'.repeat(65), '0'.repeat(64), 'f'.repeat(64)]) {
      await writeFile(file, text);
      await assert.rejects(readOperatorKey(file), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'key.file_invalid');
        assert.ok(text === '' || !error.message.includes(text));
        assert.equal(error.cause, undefined);
        return true;
      });
    }
    assert.equal(await readFile(file, 'utf8'), 'f'.repeat(64));
  });
});

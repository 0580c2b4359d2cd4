import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { BackendFailedError } from '../../../nodes/backends/backend.ts';
import { MODEL_DIGEST, MODEL_PATH, startBackend } from './support.ts';

/** What a process that loads the model hands out and writes. */
async function loadElsewhere(modelPath: string, mode: 'log' | 'silent') {
  const program = fileURLToPath(new URL('load-broken-model.ts', import.meta.url));
  const command = ['--import=tsx', program, modelPath, mode];
  const { stderr, stdout } = await promisify(execFile)(process.execPath, command);
  return { lines: JSON.parse(stdout) as string[], stderr };
}

describe('model files of the llama backend', () => {
  const failure = (pattern: RegExp) => (error: unknown) =>
    error instanceof BackendFailedError && pattern.test(error.message);

  it('says which file is missing and what to do', async () => {
    const missing = startBackend({ modelPath: 'nowhere/model.gguf' });
    await assert.rejects(
      missing,
      failure(/nowhere\/model\.gguf can't be read.*ENOENT.*MODEL_PATH/),
    );
  });

  it('refuses another file than expected, with both digests', async () => {
    const expectedDigest = `sha256:${'0'.repeat(64)}`;
    const pattern = new RegExp(`${MODEL_DIGEST}, expected ${expectedDigest}`);
    await assert.rejects(startBackend({ expectedDigest }), failure(pattern));
  });

  it('refuses a file that is no model, and a directory', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'backend-'));
    try {
      const modelPath = join(directory, 'text.gguf');
      await writeFile(modelPath, 'not a model');
      await assert.rejects(startBackend({ modelPath }), failure(/can't be loaded.*GGUF/s));
      await assert.rejects(startBackend({ modelPath: directory }), failure(/not a file/));
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it('refuses slots and contexts that make no sense', async () => {
    await assert.rejects(startBackend({ slots: 0 }), failure(/slots is 0/));
    await assert.rejects(startBackend({ threads: 0.5 }), failure(/threads is 0\.5/));
    const trained = startBackend({ contextTokens: 9000 });
    await assert.rejects(trained, failure(/contextTokens is 9000.*trained on 8192/));
  });

  it('hands on what llama.cpp logs when asked, and is silent otherwise', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'backend-'));
    try {
      // Its header is whole, so that only llama.cpp notices that the tensors are missing.
      const modelPath = join(directory, 'cut.gguf');
      await copyFile(MODEL_PATH, modelPath);
      await truncate(modelPath, 20_000_000);
      assert.deepEqual(await loadElsewhere(modelPath, 'silent'), { lines: [], stderr: '' });
      const { lines, stderr } = await loadElsewhere(modelPath, 'log');
      assert.match(lines.join('\n'), /^error: .*tensor/);
      assert.equal(stderr, '');
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});

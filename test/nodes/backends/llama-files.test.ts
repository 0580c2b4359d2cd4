import assert from 'node:assert/strict';
import { copyFile, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BackendFailedError } from '../../../nodes/backends/backend.ts';
import { MODEL_DIGEST, MODEL_PATH, startBackend } from './support.ts';

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
    const written: string[] = [];
    const streams = [process.stdout, process.stderr];
    const restore = streams.map((stream) => {
      const write = stream.write.bind(stream);
      return () => {
        stream.write = write;
      };
    });
    try {
      // Its header is whole, so that only llama.cpp notices that the tensors are missing.
      const modelPath = join(directory, 'cut.gguf');
      await copyFile(MODEL_PATH, modelPath);
      await truncate(modelPath, 20_000_000);
      for (const stream of streams)
        stream.write = (text) => {
          written.push(String(text));
          return true;
        };
      await assert.rejects(startBackend({ modelPath }), failure(/can't be loaded/));
      assert.deepEqual(written, []);
      const lines: string[] = [];
      const onLog = (level: string, line: string) => lines.push(`${level}: ${line}`);
      await assert.rejects(startBackend({ modelPath, onLog }), failure(/can't be loaded/));
      assert.match(lines.join('\n'), /error: /);
      assert.deepEqual(written, []);
    } finally {
      for (const undo of restore) undo();
      await rm(directory, { recursive: true });
    }
  });
});

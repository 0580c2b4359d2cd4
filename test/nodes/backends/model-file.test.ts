import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BackendFailedError } from '../../../nodes/backends/backend.ts';
import { digestModelFile } from '../../../nodes/backends/model-file.ts';

const digestOf = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}`;

describe('nodes/backends/model-file', () => {
  let directory: string;
  let model: string;
  let record: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plx-model-'));
    model = join(directory, 'model.gguf');
    record = join(directory, 'keys', 'model-digest.json');
    await writeFile(model, 'weights');
  });
  afterEach(() => rm(directory, { recursive: true }));

  it('digests a file, and remembers it only where it is told to', async () => {
    assert.equal(await digestModelFile(model), digestOf('weights'));
    await assert.rejects(readFile(record));
    assert.equal(await digestModelFile(model, record), digestOf('weights'));
    assert.equal((await stat(record)).mode & 0o777, 0o600);
  });

  it('uses what it remembers of the same file', async () => {
    await digestModelFile(model, record);
    const text = await readFile(record, 'utf8');
    // Told from a digest that was computed again by being another one.
    await writeFile(record, text.replace(digestOf('weights'), digestOf('remembered')));
    assert.equal(await digestModelFile(model, record), digestOf('remembered'));
  });

  it('notices another content of the same size and modification time', async () => {
    const { atime, mtime } = await stat(model);
    await digestModelFile(model, record);
    await writeFile(model, 'WEIGHTS');
    await utimes(model, atime, mtime);
    assert.equal(await digestModelFile(model, record), digestOf('WEIGHTS'));
  });

  it('computes again what a damaged record says', async () => {
    for (const text of ['', '{', '{"file":1}', '{"digest":"sha256:00"}']) {
      await digestModelFile(model, record);
      await writeFile(record, text);
      assert.equal(await digestModelFile(model, record), digestOf('weights'), text);
    }
  });

  it('says which file can not be read', async () => {
    await assert.rejects(digestModelFile(join(directory, 'none'), record), (error) => {
      assert.ok(error instanceof BackendFailedError);
      assert.match(error.message, /none can't be read.*MODEL_PATH/);
      return true;
    });
    await assert.rejects(digestModelFile(directory, record), /it is not a file/);
  });

  it('does without a record where none can be kept', async () => {
    const blocked = join(model, 'record.json');
    assert.equal(await digestModelFile(model, blocked), digestOf('weights'));
  });
});

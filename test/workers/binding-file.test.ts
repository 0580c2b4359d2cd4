import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { signedBinding } from '../../bench/signed-binding.ts';
import { formatNodeId } from '../../protocol/ids.ts';
import { readBinding } from '../../workers/binding-file.ts';
import { ConfigError } from '../../workers/config.ts';

const nodeId = formatNodeId(new Uint8Array(32).fill(5));

describe('workers/binding-file', () => {
  let directory: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plx-binding-'));
  });
  after(() => rm(directory, { recursive: true }));

  async function file(text: string): Promise<string> {
    const path = join(directory, 'binding.json');
    await writeFile(path, text);
    return path;
  }

  it('reads what an operator signed', async () => {
    const binding = await signedBinding(nodeId, 'op');
    assert.deepEqual(await readBinding(await file(JSON.stringify(binding)), nodeId), binding);
  });

  it('says what is wrong with the file, and how to sign for this very node', async () => {
    const binding = await signedBinding(nodeId, 'op');
    const json = (changed: object) => file(JSON.stringify({ ...binding, ...changed }));
    const cases: [() => Promise<string>, RegExp][] = [
      [async () => join(directory, 'none'), /none can't be read \(ENOENT\)\.\n/],
      [async () => directory, /can't be read \(EISDIR\)\.\n/],
      [() => file(''), /is not JSON/],
      [() => file('[]'), /is no binding/],
      [() => json({ signature: '0x' }), /is no binding \(signature: /],
      [() => json({ operator: 'op' }), /is no binding \(operator: /],
      [() => json({ expiresAt: 1 }), /has ended/],
    ];
    for (const [make, problem] of cases) {
      const path = await make();
      await assert.rejects(readBinding(path, nodeId), (error: unknown) => {
        assert.ok(error instanceof ConfigError);
        assert.match(error.message, /^PLX_OPERATOR_BINDING: /);
        assert.match(error.message, problem);
        assert.ok(error.message.includes(`prlx operator bind ${nodeId} --key-file`));
        return true;
      });
    }
  });
});

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadOrCreateNodeKeys } from '../../crypto/key-files.ts';
import { PYTHON_NODE_ENV as required, runPython } from '../support/python-node.ts';

describe('nodes/python', () => {
  let directory: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'plx-python-'));
  });
  after(() => rm(directory, { recursive: true, force: true }));

  it('passes the vectors of the protocol, and its own tests', async () => {
    const output = await runPython(['-m', 'unittest', '-v']);
    const [, count] = /^Ran (\d+) tests/m.exec(output) ?? [];
    assert.ok(Number(count) >= 23, output);
    assert.match(output, /^OK$/m);
  });

  async function assertSharesKeys(name: string, passphrase?: string): Promise<void> {
    const keys = join(directory, name);
    const locked = passphrase ? { PLX_NODE_KEYS_PASSPHRASE: passphrase } : {};
    const env = { ...required, PLX_NODE_KEYS: keys, ...locked };
    const told = await runPython(['-m', 'parallelix_node', '--node-id'], env);
    const file = join(keys, 'node-keys.json');
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.equal((await readFile(file, 'utf8')).includes('ENCRYPTED'), passphrase !== undefined);
    const { nodeId } = await loadOrCreateNodeKeys(keys, { passphrase });
    assert.equal(told.trim(), nodeId);
  }

  it('makes keys that the other node opens', () => assertSharesKeys('open'));

  it('makes keys that the other node opens with their passphrase', () =>
    assertSharesKeys('locked', 'correct horse battery staple'));

  it('opens keys that the other node has locked', async () => {
    const keys = join(directory, 'theirs');
    const passphrase = 'correct horse battery staple';
    const { nodeId } = await loadOrCreateNodeKeys(keys, { passphrase });
    const env = { ...required, PLX_NODE_KEYS: keys };
    const tell = (PLX_NODE_KEYS_PASSPHRASE: string) =>
      runPython(['-m', 'parallelix_node', '--node-id'], { ...env, PLX_NODE_KEYS_PASSPHRASE });
    assert.equal((await tell(passphrase)).trim(), nodeId);
    await assert.rejects(tell('another passphrase'), /key\.passphrase_wrong: /);
    await assert.rejects(tell('short'), /PLX_NODE_KEYS_PASSPHRASE: must have 12 to 200 characters/);
    await assert.rejects(tell(''), /key\.passphrase_missing: /);
  });

  it('names each variable that is wrong, and none of their values', async () => {
    const wrong = { ...required, PLX_NODE_TIER: '6', PLX_OPENAI_URL: 'http://user:secret@host' };
    await assert.rejects(runPython(['-m', 'parallelix_node'], wrong), (error: Error) => {
      assert.match(error.message, /PLX_NODE_TIER: must be a whole number from 1 to 5/);
      assert.match(error.message, /PLX_OPENAI_URL: must be/);
      assert.match(error.message, /PLX_NODE_KEYS: is not set/);
      assert.doesNotMatch(error.message, /secret/);
      return true;
    });
  });
});

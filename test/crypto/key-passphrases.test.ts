import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadOrCreateNodeKeys, type Passphrases } from '../../crypto/key-files.ts';
import { exportPrivatePem } from '../../crypto/private-pem.ts';
import { encryptionPrivateKey, failsAs, signingPrivateKey } from './fixtures.ts';

const passphrase = 'correct horse – grüße 🐎';
const other = 'another passphrase';

describe('crypto/key-files: passphrases', () => {
  let directory: string;
  let path: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'parallelix-passphrase-'));
    path = join(directory, 'node-keys.json');
    await put();
  });
  afterEach(() => rm(directory, { recursive: true }));

  async function put(passphraseOfFile?: string): Promise<void> {
    const signing = exportPrivatePem(signingPrivateKey, passphraseOfFile);
    const encryption = exportPrivatePem(encryptionPrivateKey, passphraseOfFile);
    await writeFile(path, JSON.stringify({ signing, encryption }), { mode: 0o600 });
  }

  async function opens(passphrases: Passphrases): Promise<string> {
    const { signing, encryption } = await loadOrCreateNodeKeys(directory, passphrases);
    assert.ok(signing.privateKey.equals(signingPrivateKey));
    assert.ok(encryption.privateKey.equals(encryptionPrivateKey));
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    return await readFile(path, 'utf8');
  }

  it('makes new keys encrypted', async () => {
    await rm(path);
    const made = await loadOrCreateNodeKeys(directory, { passphrase });
    const text = await readFile(path, 'utf8');
    assert.equal(text.match(/BEGIN ENCRYPTED PRIVATE KEY/g)?.length, 2);
    assert.ok(!text.includes('BEGIN PRIVATE KEY'));
    const { nodeId } = await loadOrCreateNodeKeys(directory, { passphrase });
    assert.equal(nodeId, made.nodeId);
  });

  it('encrypts keys that are there unencrypted, once', async () => {
    const text = await opens({ passphrase });
    assert.ok(!text.includes('BEGIN PRIVATE KEY'));
    assert.equal(await opens({ passphrase }), text);
  });

  it('encrypts by AES-256 with a key from 600,000 iterations of PBKDF2-HMAC-SHA-256', async () => {
    const pem = exportPrivatePem(signingPrivateKey, passphrase);
    const der = Buffer.from(pem.replaceAll(/-----.*-----/g, ''), 'base64').toString('hex');
    const oids = {
      PBES2: '06092a864886f70d01050d',
      PBKDF2: '06092a864886f70d01050c',
      'HMAC-SHA-256': '06082a864886f70d0209',
      'AES-256-CBC': '060960864801650304012a',
      '600,000': '02030927c0',
    };
    for (const [name, bytes] of Object.entries(oids)) assert.ok(der.includes(bytes), name);
  });

  it('refuses without the passphrase, or with another, and changes nothing', async () => {
    await put(passphrase);
    const text = await readFile(path, 'utf8');
    for (const [given, code] of [
      [{}, 'key.passphrase_missing'],
      [{ passphrase: other }, 'key.passphrase_wrong'],
      [{ before: other }, 'key.passphrase_wrong'],
      [{ passphrase: other, before: `${other}x` }, 'key.passphrase_wrong'],
    ] as const)
      await assert.rejects(loadOrCreateNodeKeys(directory, given), (error) => {
        assert.ok(failsAs(code)(error));
        assert.ok(!String(error).includes(other) && !String(error).includes('MII'));
        return true;
      });
    assert.equal(await readFile(path, 'utf8'), text);
  });

  it('changes the passphrase, and goes on when that was done before', async () => {
    await put(passphrase);
    const changed = await opens({ passphrase: other, before: passphrase });
    assert.equal(await opens({ passphrase: other, before: passphrase }), changed);
    await assert.rejects(
      loadOrCreateNodeKeys(directory, { passphrase }),
      failsAs('key.passphrase_wrong'),
    );
  });

  it('takes the passphrase away, and goes on when that was done before', async () => {
    await put(passphrase);
    const plain = await opens({ before: passphrase });
    assert.ok(!plain.includes('ENCRYPTED'));
    assert.equal(await opens({ before: passphrase }), plain);
    assert.equal(await opens({}), plain);
  });
});

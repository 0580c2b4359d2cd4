import assert from 'node:assert/strict';
import { createHash, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import {
  loadOrCreateNodeKeys,
  loadOrCreateWrapRing,
  loadOrCreateX25519Ring,
  rotateWrapRing,
  rotateX25519Ring,
} from '../../crypto/key-files.ts';
import {
  exportSpki,
  generateWrapKey,
  generateX25519Key,
  nodeIdOf,
  rotated,
  rsaPublicKeyFromSpki,
  thumbprint,
  wrapKeyOf,
} from '../../crypto/keys.ts';
import vectors from '../../protocol/vectors/poe.v1.json' with { type: 'json' };
import { failsAs, signingPrivateKey, signingPublicKey } from './fixtures.ts';

describe('crypto/keys', () => {
  it('names a node by the SHA-256 of its signing key', () => {
    const der = exportSpki(signingPublicKey);
    assert.equal(nodeIdOf(der), `nd_${createHash('sha256').update(der).digest('hex')}`);
    assert.equal(nodeIdOf(der), vectors.nodeId);
  });

  it('names an X25519 key by its RFC 7638 thumbprint', async () => {
    const { kid, publicJwk, privateKey } = await generateX25519Key();
    const { crv, kty, x } = createPublicKey(privateKey).export({ format: 'jwk' });
    assert.deepEqual(publicJwk, { kty, crv, x });
    const members = `{"crv":"X25519","kty":"OKP","x":"${publicJwk.x}"}`;
    assert.equal(kid, createHash('sha256').update(members).digest('base64url'));
    assert.equal(await thumbprint(publicJwk), kid);
  });

  it('accepts public keys of RSA-3072 only in exact DER', () => {
    const der = exportSpki(signingPublicKey);
    assert.ok(rsaPublicKeyFromSpki(der).equals(signingPublicKey));
    const weak = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey;
    const odd = generateKeyPairSync('rsa', { modulusLength: 3072, publicExponent: 3 }).publicKey;
    const other = generateKeyPairSync('ed25519').publicKey;
    const oversize = Buffer.alloc(513, 0xff).toString('base64url');
    const hostile = [
      exportSpki(weak),
      exportSpki(odd),
      exportSpki(other),
      exportSpki(createPublicKey({ key: { kty: 'RSA', n: oversize, e: 'AQAB' }, format: 'jwk' })),
      Buffer.concat([der, Buffer.of(0)]),
      der.subarray(1),
      Buffer.alloc(0),
      Buffer.from(signingPrivateKey.export({ format: 'der', type: 'pkcs8' })),
    ];
    for (const [index, bytes] of hostile.entries())
      assert.throws(() => rsaPublicKeyFromSpki(bytes), failsAs('key.unsuitable'), String(index));
  });

  it('rotates a ring: the newest first, no more than asked for', () => {
    const [a, b, c] = [generateWrapKey(), generateWrapKey(), generateWrapKey()];
    assert.deepEqual(rotated([a], b, 2), [b, a]);
    assert.deepEqual(rotated([b, a], c, 2), [c, b]);
    assert.notEqual(a.kid, b.kid);
    assert.equal(wrapKeyOf('k', Buffer.alloc(32, 1)).key.symmetricKeySize, 32);
  });
});

describe('crypto/key-files', () => {
  let directory: string;
  beforeEach(async () => {
    directory = join(await mkdtemp(join(tmpdir(), 'parallelix-keys-')), 'made', 'on-demand');
  });
  afterEach(() => rm(join(directory, '..', '..'), { recursive: true }));

  it('makes the keys of a node once, RSA-3072 twice, readable by the owner only', async () => {
    const keys = await loadOrCreateNodeKeys(directory);
    assert.equal(keys.nodeId, nodeIdOf(exportSpki(keys.signing.publicKey)));
    assert.ok(!keys.signing.publicKey.equals(keys.encryption.publicKey));
    for (const { publicKey, privateKey } of [keys.signing, keys.encryption]) {
      assert.ok(rsaPublicKeyFromSpki(exportSpki(publicKey)));
      assert.ok(createPublicKey(privateKey).equals(publicKey));
    }
    assert.deepEqual(await readdir(directory), ['node-keys.json']);
    assert.equal((await stat(join(directory, 'node-keys.json'))).mode & 0o777, 0o600);
    assert.equal((await stat(directory)).mode & 0o777, 0o700);
    const again = await loadOrCreateNodeKeys(directory);
    assert.ok(again.signing.privateKey.equals(keys.signing.privateKey));
    assert.ok(again.encryption.privateKey.equals(keys.encryption.privateKey));
  });

  it('gives everyone the same keys when several start at once', async () => {
    const start = () => loadOrCreateX25519Ring(directory, 'intake');
    const rings = await Promise.all(Array.from({ length: 8 }, start));
    assert.equal(new Set(rings.map(([{ kid }]) => kid)).size, 1);
    assert.deepEqual(await readdir(directory), ['intake.json']);
  });

  it('takes the keys that another process put there while it made its own', async () => {
    await loadOrCreateWrapRing(directory, 'creates-the-directory');
    const path = join(directory, 'node-keys.json');
    const mine = loadOrCreateNodeKeys(directory);
    // Making two RSA pairs takes hundreds of milliseconds; reading an absent file is over before.
    await setTimeout(30);
    const pem = vectors.signingPrivateKeyPem;
    const text = JSON.stringify({ signing: pem, encryption: pem });
    await writeFile(path, text, { mode: 0o600, flag: 'wx' });
    assert.equal((await mine).nodeId, vectors.nodeId);
    assert.equal(await readFile(path, 'utf8'), text);
  });

  it('keeps rings over restarts and rotations', async () => {
    const [wrap] = await loadOrCreateWrapRing(directory, 'wrap');
    const rotatedWrap = await rotateWrapRing(directory, 'wrap');
    const loadedWrap = await loadOrCreateWrapRing(directory, 'wrap');
    assert.deepEqual(kids(loadedWrap), kids(rotatedWrap));
    assert.ok(loadedWrap[1]?.key.equals(wrap.key));
    assert.notEqual(loadedWrap[0].kid, wrap.kid);

    const [intake] = await loadOrCreateX25519Ring(directory, 'intake');
    for (let rotations = 0; rotations < 3; rotations++) await rotateX25519Ring(directory, 'intake');
    const ring = await loadOrCreateX25519Ring(directory, 'intake');
    assert.equal(ring.length, 3);
    assert.ok(!kids(ring).includes(intake.kid));
    for (const { publicJwk, kid } of ring) assert.equal(await thumbprint(publicJwk), kid);
    assert.equal((await stat(join(directory, 'intake.json'))).mode & 0o777, 0o600);
    assert.deepEqual((await readdir(directory)).toSorted(), ['intake.json', 'wrap.json']);
  });

  it('refuses a file that others can read, and says how to mend it', async () => {
    await loadOrCreateWrapRing(directory, 'wrap');
    const path = join(directory, 'wrap.json');
    for (const mode of [0o644, 0o640, 0o602]) {
      await chmod(path, mode);
      await assert.rejects(loadOrCreateWrapRing(directory, 'wrap'), (error: Error) => {
        assert.ok(error.message.includes(`chmod 600 '${path}'`));
        return failsAs('key.file_exposed')(error);
      });
    }
    await chmod(path, 0o600);
    assert.ok(await loadOrCreateWrapRing(directory, 'wrap'));
  });

  it('refuses a broken file, leaves it alone and shows nothing of it', async () => {
    await loadOrCreateWrapRing(directory, 'wrap');
    const path = join(directory, 'wrap.json');
    const good = await readFile(path, 'utf8');
    const secret = 'c2VjcmV0';
    for (const text of [
      '',
      secret,
      '{}',
      '{"keys":[]}',
      good.replace('"key"', '"kee"'),
      good + secret,
    ]) {
      await writeFile(path, text);
      await assert.rejects(loadOrCreateWrapRing(directory, 'wrap'), (error: Error) => {
        assert.ok(!error.message.includes(secret));
        return failsAs('key.file_invalid')(error);
      });
      assert.equal(await readFile(path, 'utf8'), text);
    }
    const nodeKeys = { signing: secret, encryption: secret };
    await writeFile(join(directory, 'node-keys.json'), JSON.stringify(nodeKeys), { mode: 0o600 });
    await assert.rejects(loadOrCreateNodeKeys(directory), failsAs('key.file_invalid'));
  });
});

function kids(ring: readonly { readonly kid: string }[]): string[] {
  return ring.map(({ kid }) => kid);
}

import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate, type KeyObject } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addCa, caSource, dropOldCas, issueWithNewestCa, parseCa } from '../../crypto/ca.ts';
import {
  expiryMs,
  issueNodeCertificate,
  issueServerCertificate,
  selfSignedCa,
  type Issuer,
} from '../../crypto/certificates.ts';
import { exportSpki, nodeIdOf } from '../../crypto/keys.ts';
import { handshake, type TlsSide } from '../support/tls.ts';
import {
  encryptionPrivateKey,
  encryptionPublicKey,
  failsAs,
  signingPrivateKey,
  signingPublicKey,
} from './fixtures.ts';

const nodeId = nodeIdOf(exportSpki(signingPublicKey));
const nodeKey = pemOf(signingPrivateKey);
const edge = generateKeyPairSync('ec', { namedCurve: 'P-256' });

describe('crypto/ca', () => {
  let directory: string;
  let path: string;
  let authority: string;
  before(async () => {
    authority = await selfSignedCa(
      { publicKey: encryptionPublicKey, privateKey: encryptionPrivateKey },
      'A CA of somebody',
    );
  });
  beforeEach(async () => {
    directory = join(await mkdtemp(join(tmpdir(), 'parallelix-ca-')), 'keys');
    path = join(directory, 'ca.pem');
  });
  afterEach(() => rm(join(directory, '..'), { recursive: true }));

  it('is made once, however many ask, and readable by its owner only', async () => {
    const rings = await Promise.all([1, 2, 3].map(() => caSource({ directory })()));
    assert.equal(new Set(rings.map(({ trusted }) => trusted)).size, 1);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    const [{ issuer } = assert.fail()] = rings;
    assert.equal(issuer.certificate.publicKey.asymmetricKeyDetails?.modulusLength, 3072);
    assert.ok(expiryMs(issuer.certificate) > Date.now() + 9 * 365 * 86_400_000);
    assert.ok(!rings.some(({ trusted }) => trusted.includes('PRIVATE')));
  });

  it('is given as text, or as a file, and nothing is made then', async () => {
    const text = authority + pemOf(encryptionPrivateKey);
    const ofText = await caSource({ given: text, directory })();
    const file = join(directory, '..', 'given.pem');
    await writeFile(file, text, { mode: 0o600 });
    const ofFile = await caSource({ given: file, directory })();
    assert.equal(ofText.trusted, ofFile.trusted);
    assert.equal(ofText.trusted, new X509Certificate(authority).toString());
    await assert.rejects(stat(directory));
    await assert.rejects(caSource({ given: `${file}.absent`, directory })(), failsAs('ca.invalid'));
    await chmod(file, 0o644);
    await assert.rejects(caSource({ given: file, directory })(), failsAs('key.file_exposed'));
  });

  it('refuses what no network can be run with, and shows no key', async () => {
    const weak = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const key = pemOf(encryptionPrivateKey);
    const issuer = {
      certificate: new X509Certificate(authority),
      privateKey: encryptionPrivateKey,
    };
    const leaf = await issueNodeCertificate(issuer, signingPublicKey, nodeId, 60);
    const hostile: Record<string, string> = {
      nothing: '',
      'no key': authority,
      'no certificate': key,
      'another key': authority + nodeKey,
      'a key too many': authority + key + nodeKey,
      'the key twice': authority + key + key,
      'a weak one': (await selfSignedCa(weak, 'weak')) + pemOf(weak.privateKey),
      'no CA': leaf.certificate + nodeKey,
      'a broken certificate': authority.replace('MII', 'MIJ') + key,
      'a broken key': authority + key.replace('MII', 'MIJ'),
      'another block': `${authority}${key}-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n`,
    };
    for (const [name, text] of Object.entries(hostile))
      assert.throws(
        () => parseCa(text),
        (error) => failsAs('ca.invalid')(error) && !String(error).includes('MII'),
        name,
      );
  });

  it('is rotated in three steps, and nobody is cut off who renews in between', async () => {
    const ca = caSource({ directory });
    const initial = await ca();
    const oldNode = await nodeSide(initial);
    const oldEdge = await edgeSide(initial);
    assert.deepEqual(await handshake(oldEdge, oldNode), { ofClient: 'ok', ofServer: 'ok' });

    // 1: trusted. Certificates and bundles are renewed, here by one node and one edge of two.
    await addCa(path);
    const added = await ca();
    assert.equal(added.issuer.certificate.subject, initial.issuer.certificate.subject);
    assert.notEqual(added.trusted, initial.trusted);
    const [addedNode, addedEdge] = [await nodeSide(added), await edgeSide(added)];
    await allMeet([oldEdge, addedEdge], [oldNode, addedNode]);

    // 2: it issues. What was renewed after step 1 and what is issued now know each other.
    await issueWithNewestCa(path);
    const switched = await ca();
    assert.notEqual(switched.issuer.certificate.subject, initial.issuer.certificate.subject);
    const [newNode, newEdge] = [await nodeSide(switched), await edgeSide(switched)];
    await allMeet([addedEdge, newEdge], [addedNode, newNode]);
    // Who has renewed nothing since before step 1 is why the guide says to wait.
    assert.notEqual((await handshake(newEdge, oldNode)).ofServer, 'ok');
    assert.equal((await handshake(newEdge, oldNode)).ofClient, 'ok');

    // 3: the old one is gone.
    await dropOldCas(path);
    const dropped = await ca();
    assert.equal(dropped.members.length, 1);
    const [lastNode, lastEdge] = [await nodeSide(dropped), await edgeSide(dropped)];
    await allMeet([newEdge, lastEdge], [newNode, lastNode]);
    assert.notEqual((await handshake(lastEdge, addedNode)).ofClient, 'ok');
    assert.notEqual((await handshake(addedEdge, lastNode)).ofServer, 'ok');
  });

  it('refuses steps out of turn, and leaves the file alone', async () => {
    await assert.rejects(addCa(path), failsAs('ca.invalid'));
    await caSource({ directory })();
    const text = await readFile(path, 'utf8');
    await assert.rejects(issueWithNewestCa(path), failsAs('ca.invalid'));
    await assert.rejects(dropOldCas(path), failsAs('ca.invalid'));
    assert.equal(await readFile(path, 'utf8'), text);
  });

  it('trusts a certificate without its key, and does not issue with it', async () => {
    await caSource({ directory })();
    await writeFile(path, authority + (await readFile(path, 'utf8')), { mode: 0o600 });
    const { issuer, members, trusted } = await caSource({ directory })();
    assert.equal(members.length, 2);
    assert.notEqual(issuer.certificate.subject, new X509Certificate(authority).subject);
    assert.ok(trusted.includes(authority.trim()));
  });
});

async function allMeet(edges: readonly TlsSide[], nodes: readonly TlsSide[]): Promise<void> {
  for (const [e, server] of edges.entries())
    for (const [n, client] of nodes.entries())
      assert.deepEqual(
        await handshake(server, client),
        { ofClient: 'ok', ofServer: 'ok' },
        `edge ${e}, node ${n}`,
      );
}

interface Ring {
  readonly issuer: Issuer;
  readonly trusted: string;
}

async function nodeSide({ issuer, trusted }: Ring): Promise<TlsSide> {
  const { certificate } = await issueNodeCertificate(issuer, signingPublicKey, nodeId, 600);
  return { key: nodeKey, cert: certificate, ca: trusted };
}

async function edgeSide({ issuer, trusted }: Ring): Promise<TlsSide> {
  const names = ['127.0.0.1', 'localhost'];
  const { certificate } = await issueServerCertificate(issuer, edge.publicKey, names, 600);
  return { key: pemOf(edge.privateKey), cert: certificate, ca: trusted };
}

function pemOf(key: KeyObject): string {
  return key.export({ format: 'pem', type: 'pkcs8' }).toString();
}

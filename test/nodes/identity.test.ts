import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { certifiedNodeId, issueNodeCertificate, selfSignedCa } from '../../crypto/certificates.ts';
import { nodeKeysOf } from '../../crypto/keys.ts';
import { nodeIdentity, type IdentityOptions, type NodeIdentity } from '../../nodes/identity.ts';
import { CodedError } from '../../protocol/errors.ts';
import {
  encryptionPrivateKey,
  encryptionPublicKey,
  signingPrivateKey,
  signingPublicKey,
} from '../crypto/fixtures.ts';
import { certifyingEdge, type CertifyingEdge } from '../support/certifying-edge.ts';
import { until } from '../support/until.ts';

const keys = nodeKeysOf(
  { publicKey: signingPublicKey, privateKey: signingPrivateKey },
  { publicKey: encryptionPublicKey, privateKey: encryptionPrivateKey },
);
const { nodeId } = keys;

describe('nodes/identity', () => {
  let edge: CertifyingEdge;
  let directory: string;
  let lines: string[];
  let identity: NodeIdentity | undefined;

  beforeEach(async () => {
    edge = await certifyingEdge();
    directory = await mkdtemp(join(tmpdir(), 'parallelix-identity-'));
    lines = [];
  });
  afterEach(async () => {
    await identity?.stop();
    identity = undefined;
    await edge.close();
    await rm(directory, { recursive: true });
  });

  async function start(options: Partial<IdentityOptions> = {}): Promise<NodeIdentity> {
    identity = await nodeIdentity({
      keys,
      directory,
      edgeAddress: edge.address,
      ca: edge.ca,
      log: {
        info: (message) => void lines.push(message),
        warn: (fields, message) => void lines.push(`${message} ${JSON.stringify(fields)}`),
      },
      ...options,
    });
    return identity;
  }

  const path = (name: string) => join(directory, name);
  const paths = () => edge.calls.map((call) => call.path);

  it('enrols with its key alone, and keeps what it was given', async () => {
    const { cert, key, ca } = (await start({ joinToken: 'a-join-token' })).tls();
    const certificate = new X509Certificate(cert);
    assert.equal(certifiedNodeId(certificate), nodeId);
    assert.ok(certificate.checkPrivateKey(signingPrivateKey));
    assert.match(key, /^-----BEGIN PRIVATE KEY-----/);
    assert.ok(ca?.includes(edge.ca.trim()));
    assert.deepEqual(paths(), ['/v1/enroll']);
    assert.equal(edge.calls[0]?.nodeId, null);
    assert.equal(edge.calls[0]?.body.joinToken, 'a-join-token');
    assert.deepEqual((await readdir(directory)).toSorted(), ['ca.pem', 'certificate.pem']);
    assert.equal(await readFile(path('certificate.pem'), 'utf8'), cert);
    for (const name of ['ca.pem', 'certificate.pem'])
      assert.equal((await stat(path(name))).mode & 0o777, 0o600);
    assert.ok(!JSON.stringify(edge.calls).includes('PRIVATE'));
  });

  it('takes what it kept when it is started again, and needs no CA any more', async () => {
    const { cert } = (await start()).tls();
    await identity?.stop();
    const again = (await start({ ca: undefined })).tls();
    assert.equal(again.cert, cert);
    assert.ok(again.ca?.includes(edge.ca.trim()));
    assert.equal(edge.calls.length, 1);
  });

  it('enrols again when what it kept has ended, is of another key, or is damaged', async () => {
    const other = generateKeyPairSync('rsa', { modulusLength: 3072 }).publicKey;
    const ended = await issueNodeCertificate(edge.issuer, signingPublicKey, nodeId, -1);
    const foreign = await issueNodeCertificate(edge.issuer, other, nodeId, 3_600);
    const kept = [ended.certificate, foreign.certificate, 'damaged', ''];
    for (const certificate of kept) {
      await writeFile(path('certificate.pem'), certificate, { mode: 0o600 });
      const { cert } = (await start()).tls();
      assert.notEqual(cert, certificate);
      assert.equal(certifiedNodeId(new X509Certificate(cert)), nodeId);
      await identity?.stop();
    }
    assert.deepEqual(
      paths(),
      kept.map(() => '/v1/enroll'),
    );
  });

  it('renews at two thirds of its life, by the certificate that it has', async () => {
    edge.seconds = 6;
    const { cert } = (await start()).tls();
    const startedAtMs = performance.now();
    let renewals = 0;
    identity?.onRenewed(() => renewals++);
    await until(() => renewals >= 1, 'renewed');
    const afterMs = performance.now() - startedAtMs;
    assert.ok(afterMs > 3_000 && afterMs < 6_000, String(afterMs));
    assert.deepEqual(paths().slice(0, 2), ['/v1/enroll', '/v1/node/certificate']);
    assert.equal(edge.calls[1]?.nodeId, nodeId);
    assert.equal(edge.calls[1]?.body.joinToken, undefined);
    const renewed = identity?.tls().cert;
    assert.notEqual(renewed, cert);
    assert.equal(await readFile(path('certificate.pem'), 'utf8'), renewed);
  });

  it('enrols when no edge takes its certificate any more', async () => {
    edge.seconds = 3;
    await start();
    edge.takesCertificates = false;
    await until(() => paths().length >= 2, 'asked again');
    assert.deepEqual(paths(), ['/v1/enroll', '/v1/enroll']);
    assert.equal(lines.filter((line) => line.includes('no certificate')).length, 1);
  });

  it('is told what to do when it is refused, by its code and not by a text', async () => {
    for (const [code, advice] of [
      ['node.join_refused', /PLX_JOIN_TOKEN/],
      ['edge.node_removed', /review/],
      ['node.certificate_refused', /versions/],
    ] as const) {
      edge.refusal = code;
      await assert.rejects(start(), (error) => {
        assert.ok(error instanceof CodedError);
        assert.equal(error.code, code);
        assert.match(error.message, advice);
        assert.ok(!error.message.includes('text of the edge'));
        return true;
      });
    }
    assert.deepEqual(await readdir(directory), []);
  });

  it('goes on asking when it is refused for now, or answered with nonsense', async () => {
    const other = generateKeyPairSync('rsa', { modulusLength: 3072 }).publicKey;
    const foreign = await issueNodeCertificate(edge.issuer, other, nodeId, 3_600);
    for (const trouble of [
      { refusal: 'edge.unavailable' },
      { refusal: 'no code of ours' },
      { answer: { certificate: 'nonsense' } },
      { answer: { certificate: foreign.certificate } },
      { answer: { ca: 1 } },
    ]) {
      Object.assign(edge, { refusal: undefined, answer: undefined, calls: [] }, trouble);
      const starting = start();
      await until(() => edge.calls.length === 1, 'asked');
      assert.deepEqual(await readdir(directory), []);
      Object.assign(edge, { refusal: undefined, answer: undefined });
      await starting;
      await identity?.stop();
      await rm(path('certificate.pem'));
      await rm(path('ca.pem'));
      assert.equal(lines.filter((line) => line.includes('no certificate')).length, 1);
      lines.length = 0;
    }
  });

  it('tells nothing to an edge that is not of its network, and says so once', async () => {
    const pair = { publicKey: signingPublicKey, privateKey: signingPrivateKey };
    const gaveUp = new AbortController();
    const starting = start({
      ca: await selfSignedCa(pair, 'CA of a test'),
      signal: gaveUp.signal,
    });
    await until(() => lines.length > 0, 'said');
    gaveUp.abort(new Error('gave up'));
    await assert.rejects(starting, /gave up/);
    assert.deepEqual(edge.calls, []);
    assert.match(lines.join('\n'), /^node \/\/ no certificate, .*(CERT|VERIFY|SIGN)/);
  });

  it('says what it tried and which setting to look at, and again when that changes', async () => {
    const plain = createServer(
      (socket) => void socket.resume().end('HTTP/1.1 400 Bad Request\r\n\r\n'),
    );
    await once(plain.listen(0, '127.0.0.1'), 'listening');
    const { port } = plain.address() as AddressInfo;
    const pair = { publicKey: signingPublicKey, privateKey: signingPrivateKey };
    const foreign = await selfSignedCa(pair, 'CA of a test');
    const cases: [Partial<IdentityOptions>, RegExp][] = [
      [{ edgeAddress: `127.0.0.1:${port}` }, /No edge answers there: check PLX_EDGE_ADDRESS/],
      [{ edgeAddress: 'edge.invalid:8425' }, /No edge answers there: check PLX_EDGE_ADDRESS/],
      [{ ca: foreign }, /not trusted: set PLX_EDGE_CA/],
      [
        { edgeAddress: edge.address.replace('127.0.0.1', 'localhost') },
        /another name: check PLX_EDGE_ADDRESS/,
      ],
    ];
    for (const [options, advice] of cases) {
      lines.length = 0;
      const gaveUp = new AbortController();
      const starting = start({ ...options, signal: gaveUp.signal });
      await until(() => lines.length > 0, 'said');
      gaveUp.abort(new Error('gave up'));
      await assert.rejects(starting, /gave up/);
      assert.match(lines.join('\n'), advice);
      assert.ok(lines[0]?.includes(`"address":"${options.edgeAddress ?? edge.address}"`), lines[0]);
    }

    lines.length = 0;
    const gaveUp = new AbortController();
    const starting = start({ edgeAddress: `127.0.0.1:${port}`, signal: gaveUp.signal });
    await until(() => lines.length === 1, 'it is no TLS');
    await new Promise((resolve) => plain.close(resolve));
    await until(() => lines.length === 2, 'it is nobody');
    gaveUp.abort(new Error('gave up'));
    await assert.rejects(starting, /gave up/);
    assert.match(lines[1] ?? '', /will try again .*ECONNREFUSED/);
  });
});

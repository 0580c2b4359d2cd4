import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import {
  certifiedNodeId,
  expiryMs,
  issueNodeCertificate,
  issueServerCertificate,
  selfSignedCa,
  type Issuer,
} from '../../crypto/certificates.ts';
import { exportSpki, nodeIdOf } from '../../crypto/keys.ts';
import { CodedError } from '../../protocol/errors.ts';
import {
  encryptionPrivateKey,
  encryptionPublicKey,
  signingPrivateKey,
  signingPublicKey,
} from './fixtures.ts';

const DAY_SECONDS = 86_400;
const nodeId = nodeIdOf(exportSpki(signingPublicKey));
const edge = generateKeyPairSync('ec', { namedCurve: 'P-256' });

describe('crypto/certificates', () => {
  let issuer: Issuer;
  before(async () => {
    const pair = { publicKey: encryptionPublicKey, privateKey: encryptionPrivateKey };
    const pem = await selfSignedCa(pair, 'ParalleliX CA of a test');
    issuer = { certificate: new X509Certificate(pem), privateKey: encryptionPrivateKey };
  });

  it('makes a CA that signed itself', () => {
    const { certificate } = issuer;
    assert.ok(certificate.ca);
    assert.ok(certificate.verify(encryptionPublicKey));
    assert.ok(certificate.checkIssued(certificate));
    const years = (expiryMs(certificate) - Date.now()) / (365 * DAY_SECONDS * 1_000);
    assert.ok(Math.abs(years - 10) < 0.01, String(years));
  });

  it('issues a certificate that says which node has the key, for clients only', async () => {
    const issued = await issueNodeCertificate(issuer, signingPublicKey, nodeId, DAY_SECONDS);
    const certificate = new X509Certificate(issued.certificate);
    assert.ok(certificate.verify(issuer.certificate.publicKey));
    assert.ok(certificate.checkIssued(issuer.certificate));
    assert.ok(certificate.checkPrivateKey(signingPrivateKey));
    assert.equal(certificate.subject, `CN=${nodeId.slice(0, 40)}`);
    assert.equal(certificate.issuer, issuer.certificate.subject);
    assert.equal(certificate.subjectAltName, `URI:urn:plx:${nodeId}`);
    assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.2']);
    assert.ok(!certificate.ca);
    assert.equal(certifiedNodeId(certificate), nodeId);
    assert.equal(certificate.serialNumber.toLowerCase(), issued.serial);
    assert.equal(expiryMs(certificate), issued.expiresAtMs);
    const endsInSeconds = (issued.expiresAtMs - Date.now()) / 1_000;
    assert.ok(Math.abs(endsInSeconds - DAY_SECONDS) < 10, String(endsInSeconds));
    const beganSeconds = (Date.now() - Date.parse(certificate.validFrom)) / 1_000;
    assert.ok(Math.abs(beganSeconds - 300) < 10, String(beganSeconds));
  });

  it('gives each certificate another serial, of 16 bytes', async () => {
    const serials = new Set<string>();
    for (let count = 0; count < 20; count++) {
      const { serial } = await issueNodeCertificate(issuer, signingPublicKey, nodeId, 60);
      assert.match(serial, /^[4-7][0-9a-f]{31}$/);
      serials.add(serial);
    }
    assert.equal(serials.size, 20);
  });

  it('issues nothing that outlives the CA', async () => {
    const seconds = 20 * 365 * DAY_SECONDS;
    const issued = await issueNodeCertificate(issuer, signingPublicKey, nodeId, seconds);
    assert.equal(issued.expiresAtMs, expiryMs(issuer.certificate));
  });

  it('issues a certificate for the names of a server, for servers only', async () => {
    const names = ['edge-1.example.org', '127.0.0.1', '2001:db8::1'];
    const issued = await issueServerCertificate(issuer, edge.publicKey, names, DAY_SECONDS);
    const certificate = new X509Certificate(issued.certificate);
    assert.ok(certificate.checkPrivateKey(edge.privateKey));
    assert.equal(certificate.checkHost('edge-1.example.org'), 'edge-1.example.org');
    assert.equal(certificate.checkIP('127.0.0.1'), '127.0.0.1');
    assert.ok(certificate.checkIP('2001:db8::1'));
    assert.equal(certificate.checkHost('edge-2.example.org'), undefined);
    assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1']);
    assert.equal(certifiedNodeId(certificate), null);
  });

  it('refuses what is no name of a server', async () => {
    const hostile = [
      [],
      [''],
      ['*'],
      ['*.example.org'],
      ['a b'],
      ['a,b'],
      ['a'.repeat(64)],
      ['1.2.'],
    ];
    for (const names of hostile)
      await assert.rejects(
        issueServerCertificate(issuer, edge.publicKey, names, DAY_SECONDS),
        (error) => error instanceof CodedError && error.code === 'node.certificate_refused',
        JSON.stringify(names),
      );
  });
});

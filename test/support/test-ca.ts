import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import forge from 'node-forge';
import { exportSpki, nodeIdOf } from '../../crypto/keys.ts';
import type { NodeId } from '../../protocol/ids.ts';

/** A certificate and its key, in PEM. */
export interface TestCertificate {
  readonly key: string;
  readonly cert: string;
}

export interface TestNodeCertificate extends TestCertificate {
  readonly nodeId: NodeId;
}

/** What may be wrong with a certificate. */
export interface CertificateChanges {
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** By default that of clients for nodes. */
  readonly isServer?: boolean;
  /** By default the node's own id. */
  readonly namedId?: string;
}

export interface TestCa {
  readonly ca: string;
  /** Of a node; with a key of its own unless one is given. */
  node(changes?: CertificateChanges & { readonly key?: string }): TestNodeCertificate;
  /** Of an edge on this machine. */
  edge(): TestCertificate;
}

const HOUR_MS = 3_600_000;

/** A CA of the form that the network's has. */
export function testCa(): TestCa {
  const caKey = newKey();
  const attributes = [{ name: 'commonName', value: 'test network' }];
  const caPem = sign(caKey, attributes, caKey, attributes, [
    { name: 'basicConstraints', cA: true, critical: true },
    { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
  ]);
  return {
    ca: caPem,
    node({ key = newKey(), namedId, isServer = false, ...dates } = {}) {
      const nodeId = nodeIdOf(exportSpki(createPublicKey(key)));
      const subject = [{ name: 'commonName', value: nodeId.slice(0, 40) }];
      const extensions = [
        { name: 'basicConstraints', cA: false },
        { name: 'extKeyUsage', clientAuth: !isServer, serverAuth: isServer },
        { name: 'subjectAltName', altNames: [{ type: 6, value: `urn:plx:${namedId ?? nodeId}` }] },
      ];
      return { key, nodeId, cert: sign(key, subject, caKey, attributes, extensions, dates) };
    },
    edge() {
      const key = newKey();
      const altNames = [
        { type: 2, value: 'localhost' },
        { type: 7, ip: '127.0.0.1' },
      ];
      const cert = sign(key, [{ name: 'commonName', value: 'edge' }], caKey, attributes, [
        { name: 'basicConstraints', cA: false },
        { name: 'extKeyUsage', serverAuth: true },
        { name: 'subjectAltName', altNames },
      ]);
      return { key, cert };
    },
  };
}

function newKey(): string {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 3072 });
  return privateKey.export({ format: 'pem', type: 'pkcs1' }).toString();
}

function sign(
  subjectKey: string,
  subject: forge.pki.CertificateField[],
  issuerKey: string,
  issuer: forge.pki.CertificateField[],
  extensions: object[],
  { notBefore, notAfter }: CertificateChanges = {},
): string {
  const { n, e } = forge.pki.privateKeyFromPem(subjectKey);
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = forge.pki.setRsaPublicKey(n, e);
  certificate.serialNumber = `00${randomBytes(15).toString('hex')}`;
  certificate.validity.notBefore = notBefore ?? new Date(Date.now() - HOUR_MS);
  certificate.validity.notAfter = notAfter ?? new Date(Date.now() + HOUR_MS);
  certificate.setSubject(subject);
  certificate.setIssuer(issuer);
  certificate.setExtensions(extensions);
  certificate.sign(forge.pki.privateKeyFromPem(issuerKey), forge.md.sha256.create());
  return forge.pki.certificateToPem(certificate);
}

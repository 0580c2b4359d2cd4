import { randomBytes } from 'node:crypto';
import forge from 'node-forge';
import { generateRsa, nodeKeysOf, type NodeKeys } from '../../crypto/keys.ts';

/** A TLS key and its certificate, as PEM. */
export interface Credentials {
  readonly key: string;
  readonly cert: string;
}

export interface CertificateTerms {
  /** The id that it names, its own or another's. */
  readonly nodeId: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

const DAY_MS = 86_400_000;

/** Good from a minute ago for a week. */
export function currentTerms(nodeId: string): CertificateTerms {
  const nowMs = Date.now();
  return { nodeId, notBeforeMs: nowMs - 60_000, notAfterMs: nowMs + 7 * DAY_MS };
}

/** Over since yesterday. */
export function lapsedTerms(nodeId: string): CertificateTerms {
  const nowMs = Date.now();
  return { nodeId, notBeforeMs: nowMs - 8 * DAY_MS, notAfterMs: nowMs - DAY_MS };
}

/** PKCS#10 for a node's signing key, naming a node. */
export function signingRequest(keys: NodeKeys, nodeId: string = keys.nodeId): string {
  const request = forge.pki.createCertificationRequest();
  const { privateKey, publicKey } = forgeKeys(keys);
  request.publicKey = publicKey;
  request.setSubject([{ name: 'commonName', value: nodeId.slice(0, 40) }]);
  request.sign(privateKey, forge.md.sha256.create());
  return forge.pki.certificationRequestToPem(request);
}

/** A certificate by which a node vouches for itself. */
export function selfSigned(keys: NodeKeys, terms = currentTerms(keys.nodeId)): Credentials {
  return issued(keys, terms, { cert: undefined, key: privatePem(keys) });
}

/** Keys of which the other pair is of no use. */
export async function signingKeys(): Promise<NodeKeys> {
  const signing = await generateRsa();
  return nodeKeysOf(signing, signing);
}

/** A key for all of them: making one takes a second. */
let authority: Promise<NodeKeys> | undefined;

/** An authority that nobody here has heard of, with the name of the real one if it is given. */
export async function foreignAuthority(like?: string): Promise<Credentials> {
  authority ??= signingKeys();
  const keys = await authority;
  const certificate = forge.pki.createCertificate();
  const { privateKey, publicKey } = forgeKeys(keys);
  const name = like
    ? forge.pki.certificateFromPem(like).subject.attributes
    : [{ name: 'commonName', value: 'Another network' }];
  describe(certificate, currentTerms(keys.nodeId), publicKey);
  certificate.setSubject(name);
  certificate.setIssuer(name);
  certificate.setExtensions([
    { name: 'basicConstraints', critical: true, cA: true },
    { name: 'keyUsage', critical: true, keyCertSign: true, cRLSign: true },
  ]);
  certificate.sign(privateKey, forge.md.sha256.create());
  return { key: privatePem(keys), cert: forge.pki.certificateToPem(certificate) };
}

/** A node's certificate by an authority; without a certificate of it, by the key alone. */
export function issued(
  keys: NodeKeys,
  terms: CertificateTerms,
  authority: { readonly key: string; readonly cert: string | undefined },
): Credentials {
  const certificate = forge.pki.createCertificate();
  describe(certificate, terms, forgeKeys(keys).publicKey);
  const subject = [{ name: 'commonName', value: terms.nodeId.slice(0, 40) }];
  const issuer = authority.cert && forge.pki.certificateFromPem(authority.cert).subject.attributes;
  certificate.setSubject(subject);
  certificate.setIssuer(issuer || subject);
  certificate.setExtensions([
    { name: 'basicConstraints', critical: true, cA: false },
    { name: 'keyUsage', critical: true, digitalSignature: true },
    { name: 'extKeyUsage', clientAuth: true },
    { name: 'subjectAltName', altNames: [{ type: 6, value: `urn:plx:${terms.nodeId}` }] },
  ]);
  certificate.sign(forge.pki.privateKeyFromPem(authority.key), forge.md.sha256.create());
  return { key: privatePem(keys), cert: forge.pki.certificateToPem(certificate) };
}

/** A node's signing key, which is its TLS key. */
export function privatePem({ signing }: NodeKeys): string {
  return signing.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
}

function describe(
  certificate: forge.pki.Certificate,
  { notBeforeMs, notAfterMs }: CertificateTerms,
  publicKey: forge.pki.PublicKey,
): void {
  certificate.publicKey = publicKey;
  // Positive, and without a leading zero byte (RFC 5280 4.1.2.2).
  certificate.serialNumber = `4${randomBytes(16).toString('hex').slice(1)}`;
  certificate.validity.notBefore = new Date(notBeforeMs);
  certificate.validity.notAfter = new Date(notAfterMs);
}

function forgeKeys(keys: NodeKeys) {
  const privateKey = forge.pki.privateKeyFromPem(privatePem(keys));
  return { privateKey, publicKey: forge.pki.setRsaPublicKey(privateKey.n, privateKey.e) };
}

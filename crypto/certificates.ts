import { createHash, randomBytes, type KeyObject, type X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import forge from 'node-forge';
import { CodedError } from '../protocol/errors.ts';
import type { NodeId } from '../protocol/ids.ts';
import {
  commonName,
  octets,
  parseDer,
  PLACEHOLDER_KEY,
  RSA_SHA256,
  sequence,
  signed,
  type Sequence,
} from './der.ts';
import { exportSpki, nodeIdOf, rsaPublicKeyFromSpki, type KeyPair } from './keys.ts';

/** A certificate is valid a little earlier than it was issued, for clocks that are behind. */
const CLOCK_SKEW_MS = 5 * 60_000;
const CA_SECONDS = 10 * 365 * 86_400;
const DNS_NAME = /^(?=.{1,253}$)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*$/i;

const { pki } = forge;
/** Places in a TBSCertificate (RFC 5280 §4.1) of version 3. */
const [ISSUER, SUBJECT, SUBJECT_KEY] = [3, 5, 6];

/** A function of forge that its types leave out. */
const { getTBSCertificate } = pki as unknown as {
  getTBSCertificate(this: void, certificate: forge.pki.Certificate): Sequence;
};

/** Who signs: a certificate of a CA (`crypto/ca.ts`) and its key. */
export interface Issuer {
  readonly certificate: X509Certificate;
  readonly privateKey: KeyObject;
}

/** A certificate as it was just issued. */
export interface IssuedCertificate {
  readonly certificate: string;
  /** 32 hex digits. */
  readonly serial: string;
  readonly expiresAtMs: number;
}

/** A client certificate of a node, signed sha256WithRSAEncryption. It ends no later than its CA. */
export function issueNodeCertificate(
  issuer: Issuer,
  publicKey: KeyObject,
  nodeId: NodeId,
  seconds: number,
): Promise<IssuedCertificate> {
  return issue(issuer, publicKey, {
    subject: nodeId,
    seconds,
    extensions: leafExtensions('clientAuth', [{ type: 6, value: `urn:plx:${nodeId}` }]),
  });
}

/**
 * A server certificate of an edge.
 *
 * @param names DNS names and IP addresses by which nodes call it, at least one.
 * @throws CodedError `node.certificate_refused` for a name that is neither.
 */
export async function issueServerCertificate(
  issuer: Issuer,
  publicKey: KeyObject,
  names: readonly string[],
  seconds: number,
): Promise<IssuedCertificate> {
  const [subject] = names;
  if (subject === undefined) throw refused('It names no server.');
  for (const name of names)
    if (isIP(name) === 0 && !DNS_NAME.test(name))
      throw refused(`${JSON.stringify(name)} is no DNS name and no IP address.`);
  const altNames = names.map((name) =>
    isIP(name) === 0 ? { type: 2, value: name } : { type: 7, ip: name },
  );
  const extensions = leafExtensions('serverAuth', altNames);
  return await issue(issuer, publicKey, { subject, seconds, extensions });
}

/**
 * A CA's certificate, signed with its own key, for 10 years.
 *
 * @param fromMs in Unix ms: it is valid from then, if that is later than it would be.
 * @returns PEM.
 */
export async function selfSignedCa(keyPair: KeyPair, subject: string, fromMs = 0): Promise<string> {
  const untilMs = Date.now() + CA_SECONDS * 1_000;
  const digest = createHash('sha256').update(exportSpki(keyPair.publicKey)).digest();
  const tbs = toBeSigned(keyPair.publicKey, subject, { fromMs, untilMs }, [
    { name: 'basicConstraints', cA: true, pathLenConstraint: 0, critical: true },
    { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    // Any name that no other key has will do (RFC 7093 §2).
    { name: 'subjectKeyIdentifier', value: octets(digest.subarray(0, 20)) },
  ]);
  tbs.value[ISSUER] = sequence(tbs.value[SUBJECT]);
  return await signed('CERTIFICATE', tbs, RSA_SHA256, keyPair.privateKey);
}

/** When a certificate ends, in Unix ms. */
export function expiryMs(certificate: X509Certificate): number {
  return Date.parse(certificate.validTo);
}

/** From when a certificate is valid, in Unix ms. */
export function notBeforeMs(certificate: X509Certificate): number {
  return Date.parse(certificate.validFrom);
}

/** The node whose key a certificate has; null unless it is RSA as nodes have it. */
export function certifiedNodeId(certificate: X509Certificate): NodeId | null {
  try {
    const spki = exportSpki(certificate.publicKey);
    rsaPublicKeyFromSpki(spki);
    return nodeIdOf(spki);
  } catch {
    return null;
  }
}

interface Content {
  readonly subject: string;
  readonly seconds: number;
  readonly extensions: readonly object[];
}

async function issue(
  issuer: Issuer,
  publicKey: KeyObject,
  { subject, seconds, extensions }: Content,
): Promise<IssuedCertificate> {
  // Certificates have whole seconds.
  const endMs = Math.floor(Date.now() / 1_000 + seconds) * 1_000;
  const expiresAtMs = Math.min(endMs, expiryMs(issuer.certificate));
  const serial = serialNumber();
  const tbs = toBeSigned(
    publicKey,
    subject,
    { untilMs: expiresAtMs },
    [...extensions, ...authorityKeyIdentifier(issuer.certificate)],
    serial,
  );
  // As it stands there, so that whoever compares names byte by byte finds the issuer.
  const [signedPart] = sequence(parseDer(issuer.certificate.raw)).value;
  tbs.value[ISSUER] = sequence(sequence(signedPart).value[SUBJECT]);
  const certificate = await signed('CERTIFICATE', tbs, RSA_SHA256, issuer.privateKey);
  return { certificate, serial, expiresAtMs };
}

/** Without a signature, and without the issuer's name. */
function toBeSigned(
  publicKey: KeyObject,
  subject: string,
  { fromMs = 0, untilMs }: { readonly fromMs?: number; readonly untilMs: number },
  extensions: readonly object[],
  serial = serialNumber(),
): Sequence {
  const certificate = pki.createCertificate();
  certificate.serialNumber = serial;
  certificate.siginfo.algorithmOid = RSA_SHA256;
  certificate.validity.notBefore = new Date(Math.max(Date.now() - CLOCK_SKEW_MS, fromMs));
  certificate.validity.notAfter = new Date(untilMs);
  certificate.setSubject(commonName(subject));
  certificate.publicKey = PLACEHOLDER_KEY;
  certificate.setExtensions([...extensions]);
  const tbs = getTBSCertificate(certificate);
  tbs.value[SUBJECT_KEY] = parseDer(exportSpki(publicKey));
  return tbs;
}

/** 126 random bits in 16 bytes: positive, and in DER without another byte before or after. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('hex');
}

function leafExtensions(usage: 'clientAuth' | 'serverAuth', altNames: readonly object[]) {
  return [
    { name: 'basicConstraints', cA: false, critical: true },
    { name: 'keyUsage', digitalSignature: true, critical: true },
    { name: 'extKeyUsage', [usage]: true },
    { name: 'subjectAltName', altNames },
  ];
}

/** By which a CA's key is found where its name isn't enough; nothing if the CA names none. */
function authorityKeyIdentifier(certificate: X509Certificate): readonly object[] {
  const authority = pki.certificateFromPem(certificate.toString());
  const extension = authority.getExtension('subjectKeyIdentifier');
  if (!extension || !('subjectKeyIdentifier' in extension)) return [];
  const identifier = forge.util.hexToBytes(String(extension.subjectKeyIdentifier));
  return [{ name: 'authorityKeyIdentifier', keyIdentifier: identifier }];
}

function refused(detail: string): CodedError {
  return new CodedError('node.certificate_refused', detail);
}

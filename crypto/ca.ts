import { createHash, createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { expiryMs, notBeforeMs, selfSignedCa, type Issuer } from './certificates.ts';
import { EnvelopeError } from './errors.ts';
import { exportSpki, generateRsa, rsaPublicKeyFromSpki } from './keys.ts';
import { readOrCreatePrivate, readPrivate, replacePrivate } from './private-files.ts';
import { exportPrivatePem } from './private-pem.ts';

const FILE = 'ca.pem';
const CERTIFICATES = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;
const KEYS = /-----BEGIN (RSA )?PRIVATE KEY-----[A-Za-z0-9+/=\s]+-----END (RSA )?PRIVATE KEY-----/g;
const BEGIN = '-----BEGIN ';

/** A CA of the network; without a key it is trusted, and issues nothing. */
export interface CaMember {
  readonly certificate: X509Certificate;
  readonly privateKey?: KeyObject;
}

/** The network's CAs: the first one that has a key issues, and all are trusted. */
export interface CaRing {
  readonly issuer: Issuer;
  /** Certificates in PEM, for who checks certificates of the network. */
  readonly trusted: string;
  readonly members: readonly CaMember[];
}

/** Where the CA is: PEM, or the path of a file; by default `ca.pem` in a directory of keys. */
export interface CaPlace {
  readonly given?: string | undefined;
  readonly directory: string;
}

/**
 * The CAs of a network. A file is read at each call, so that a rotation needs no restart; the one
 * in the directory of keys is made at the first: RSA-3072, for 10 years.
 *
 * @throws (at a call) EnvelopeError `ca.invalid`, or `key.file_exposed`.
 */
export function caSource({ given, directory }: CaPlace): () => Promise<CaRing> {
  let last: { readonly text: string; readonly ring: CaRing } | undefined;
  const isText = given?.includes(BEGIN) === true;
  return async () => {
    const text = isText ? given : await caFile(given ?? join(directory, FILE), given === undefined);
    if (last?.text !== text) last = { text, ring: parseCa(text) };
    return last.ring;
  };
}

/**
 * Reads CAs in PEM: certificates, and the keys of those that issue, in any order.
 *
 * @throws EnvelopeError `ca.invalid` unless each certificate is a self-signed CA of RSA with 3072
 * to 4096 bits, each key is one's, and the first that has a key is valid now.
 */
export function parseCa(text: string): CaRing {
  const certificates = [...text.matchAll(CERTIFICATES)].map(([pem]) => readCertificate(pem));
  const keys = [...text.matchAll(KEYS)].map(([pem]) => readKey(pem));
  if (text.split(BEGIN).length - 1 !== certificates.length + keys.length)
    throw invalid('it has a block that is no certificate and no unencrypted private key in PEM');
  const members = certificates.map((certificate): CaMember => {
    const privateKey = keys.find((key) => certificate.checkPrivateKey(key));
    return privateKey ? { certificate, privateKey } : { certificate };
  });
  if (members.filter(({ privateKey }) => privateKey).length < keys.length)
    throw invalid('it has a key without a certificate, or one twice');
  const issuer = members.find((member): member is Issuer => member.privateKey !== undefined);
  if (!issuer) throw invalid('it has no certificate with its key');
  if (expiryMs(issuer.certificate) < Date.now())
    throw invalid(`the certificate that issues ended on ${issuer.certificate.validTo}`);
  return { issuer, members, trusted: bundle(certificates) };
}

/** A step of a rotation. */
export type CaStep = 'add' | 'issue' | 'drop';

/** The step that comes next: `add`, unless a rotation has begun. */
export function nextCaStep(ring: CaRing): CaStep {
  if (ring.members.length === 1) return 'add';
  return newestOf(ring) === ring.issuer ? 'drop' : 'issue';
}

/** Rotation, step 1: a new CA, which is trusted and issues nothing yet. @param path of the file. */
export async function addCa(path: string): Promise<CaRing> {
  const ring = parseCa(await caFile(path, false));
  const afterMs = notBeforeMs(newestOf(ring).certificate);
  return await write(path, [...ring.members, await newCa(afterMs + 1_000)]);
}

/**
 * Rotation, step 2: the newest CA issues from now on; all are trusted.
 *
 * @throws EnvelopeError `ca.invalid` when there is no other.
 */
export async function issueWithNewestCa(path: string): Promise<CaRing> {
  const ring = parseCa(await caFile(path, false));
  const newest = newestOf(ring);
  if (newest === ring.issuer) throw invalid('no CA was added that could issue instead');
  return await write(path, [newest, ...ring.members.filter((member) => member !== newest)]);
}

/**
 * Rotation, step 3: the CA that issues is the only one that is trusted.
 *
 * @throws EnvelopeError `ca.invalid` when it is already.
 */
export async function dropOldCas(path: string): Promise<CaRing> {
  const { members, issuer } = parseCa(await caFile(path, false));
  if (members.length === 1) throw invalid('no other CA is left that could be dropped');
  return await write(path, [issuer]);
}

/** The latest of those that have a key; of two of the same second the one that comes later. */
function newestOf({ members, issuer }: CaRing): CaMember {
  const newerOf = (one: CaMember, other: CaMember) =>
    notBeforeMs(other.certificate) >= notBeforeMs(one.certificate) ? other : one;
  return members.filter(({ privateKey }) => privateKey).reduce(newerOf, issuer);
}

async function write(path: string, members: readonly CaMember[]): Promise<CaRing> {
  const text = members.map(encode).join('');
  const ring = parseCa(text);
  await replacePrivate(path, text);
  return ring;
}

async function caFile(path: string, mayBeMade: boolean): Promise<string> {
  if (mayBeMade) return await readOrCreatePrivate(path, async () => encode(await newCa()));
  const text = await readPrivate(path);
  if (text === undefined) throw invalid(`there is no file ${path}`);
  return text;
}

/**
 * Its name has a part of its key's digest, so that no two CAs of a network share a name.
 *
 * @param fromMs in Unix ms: it is valid from then at the earliest.
 */
async function newCa(fromMs = 0): Promise<CaMember> {
  const pair = await generateRsa();
  const name = createHash('sha256').update(exportSpki(pair.publicKey)).digest('hex').slice(0, 16);
  const pem = await selfSignedCa(pair, `ParalleliX CA ${name}`, fromMs);
  return { certificate: new X509Certificate(pem), privateKey: pair.privateKey };
}

function encode({ certificate, privateKey }: CaMember): string {
  return bundle([certificate]) + (privateKey ? exportPrivatePem(privateKey) : '');
}

function bundle(certificates: readonly X509Certificate[]): string {
  return certificates.map((certificate) => `${certificate.toString().trim()}\n`).join('');
}

function readCertificate(pem: string): X509Certificate {
  let certificate: X509Certificate | undefined;
  try {
    certificate = new X509Certificate(pem);
    rsaPublicKeyFromSpki(exportSpki(certificate.publicKey));
  } catch {
    certificate = undefined;
  }
  if (!certificate?.ca || !certificate.verify(certificate.publicKey))
    throw invalid('it has a certificate that is no self-signed CA of RSA with 3072 to 4096 bits');
  return certificate;
}

/** No cause: a parser's message may quote what it reads. */
function readKey(pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    throw invalid('it has a private key that can not be read');
  }
}

function invalid(problem: string): EnvelopeError {
  return new EnvelopeError(
    'ca.invalid',
    `The CA (PLX_CA, or ca.pem in PLX_COORDINATOR_KEYS) can't be used: ${problem}. ` +
      'docs/certificates.md says what it has to be.',
  );
}

import { createPublicKey, verify, type KeyObject } from 'node:crypto';
import forge from 'node-forge';
import { CodedError } from '../protocol/errors.ts';
import type { NodeId } from '../protocol/ids.ts';
import {
  algorithmIdentifier,
  commonName,
  ECDSA_SHA256,
  parseDer,
  PLACEHOLDER_KEY,
  RSA_SHA256,
  sequence,
  signed,
  toBytes,
  toDer,
  type Sequence,
} from './der.ts';
import { exportSpki, nodeIdOf, rsaPublicKeyFromSpki, type KeyPair } from './keys.ts';

/** A request with an RSA-4096 key has 1.7 KB. */
export const REQUEST_CHARACTERS_MAX = 8 * 1024;
const LABEL = 'CERTIFICATE REQUEST';
const PEM_REQUEST = new RegExp(
  `^-----BEGIN ${LABEL}-----\\r?\\n([A-Za-z0-9+/=\\r\\n]+)-----END ${LABEL}-----\\s*$`,
);

const { asn1, pki } = forge;
const { BITSTRING, INTEGER } = asn1.Type;
/** The key's place in a CertificationRequestInfo (RFC 2986 §4.1). */
const REQUEST_KEY = 2;

/** A function of forge that its types leave out. */
const { getCertificationRequestInfo } = pki as unknown as {
  getCertificationRequestInfo(this: void, request: forge.pki.CertificateSigningRequest): Sequence;
};

/**
 * A certificate signing request (PKCS #10, SHA-256), self-signed to show that its maker has the
 * key.
 *
 * @param keyPair RSA or P-256.
 * @param subject the common name; nobody relies on it.
 * @returns PEM.
 */
export async function certificateRequest(keyPair: KeyPair, subject: string): Promise<string> {
  const request = pki.createCertificationRequest();
  request.publicKey = PLACEHOLDER_KEY;
  request.setSubject(commonName(subject));
  const info = getCertificationRequestInfo(request);
  info.value[REQUEST_KEY] = parseDer(exportSpki(keyPair.publicKey));
  const isRsa = keyPair.privateKey.asymmetricKeyType === 'rsa';
  return await signed(LABEL, info, isRsa ? RSA_SHA256 : ECDSA_SHA256, keyPair.privateKey);
}

/**
 * Reads a node's signing request, which may be hostile. Nothing of it counts but its key.
 *
 * @param pem PKCS #10, of RSA with 3072 to 4096 bits, signed sha256WithRSAEncryption with that key.
 * @returns the key, and the id of the node that has it.
 * @throws CodedError `node.certificate_refused`.
 */
export function checkCertificateRequest(pem: string): {
  readonly publicKey: KeyObject;
  readonly nodeId: NodeId;
} {
  const request = parseRequest(pem, RSA_SHA256);
  const publicKey = attempt('Its key is unsuitable.', () => rsaPublicKeyFromSpki(request.spki));
  assertSelfSigned(request, publicKey);
  return { publicKey, nodeId: nodeIdOf(request.spki) };
}

/**
 * Reads an edge's signing request: a P-256 key, with which a signature costs a tenth of RSA-2048's.
 *
 * @throws CodedError `node.certificate_refused`.
 */
export function checkServerRequest(pem: string): KeyObject {
  const request = parseRequest(pem, ECDSA_SHA256);
  const key = { key: request.spki, format: 'der', type: 'spki' } as const;
  const publicKey = attempt('Its key is unsuitable.', () => createPublicKey(key));
  if (publicKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
    throw refused('Its key is unsuitable.');
  assertSelfSigned(request, publicKey);
  return publicKey;
}

interface ParsedRequest {
  readonly info: Buffer;
  readonly spki: Buffer;
  readonly signature: Buffer;
}

function parseRequest(pem: string, algorithm: string): ParsedRequest {
  if (pem.length > REQUEST_CHARACTERS_MAX) throw refused('It is too long.');
  const base64 = PEM_REQUEST.exec(pem)?.[1];
  if (base64 === undefined) throw refused('It is not one PKCS #10 request in PEM.');
  return attempt('It is not PKCS #10 in DER.', () => {
    const der = Buffer.from(base64, 'base64');
    const whole = parseDer(der);
    if (!toDer(whole).equals(der)) throw refused('It is not in DER.');
    const [info, signatureAlgorithm, bits, ...more] = sequence(whole).value;
    const [version, , key] = sequence(info).value;
    const signature = toBytes(bits, BITSTRING);
    const isReadable =
      more.length === 0 &&
      toBytes(version, INTEGER).equals(Buffer.of(0)) &&
      toDer(sequence(signatureAlgorithm)).equals(toDer(algorithmIdentifier(algorithm))) &&
      signature[0] === 0;
    if (!isReadable) throw refused('Its version or its signature algorithm is another one.');
    return {
      info: toDer(sequence(info)),
      spki: toDer(sequence(key)),
      signature: signature.subarray(1),
    };
  });
}

function assertSelfSigned({ info, signature }: ParsedRequest, publicKey: KeyObject): void {
  const isSigned = attempt('Its signature is unreadable.', () =>
    verify('sha256', info, publicKey, signature),
  );
  if (!isSigned) throw refused('It is not signed with its own key.');
}

/** What a library throws at hostile input becomes a refusal. */
function attempt<Value>(detail: string, read: () => Value): Value {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof CodedError) throw cause;
    throw new CodedError('node.certificate_refused', detail, { cause });
  }
}

function refused(detail: string): CodedError {
  return new CodedError('node.certificate_refused', detail);
}

import { sign as signWithCallback, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import forge from 'node-forge';

const { asn1, pki } = forge;
const { SEQUENCE, BITSTRING, INTEGER, NULL, OCTETSTRING, OID, UTF8 } = asn1.Type;
export const RSA_SHA256 = '1.2.840.113549.1.1.11';
export const ECDSA_SHA256 = '1.2.840.10045.4.3.2';
const COMMON_NAME_CHARACTERS = 40;
const signBytes = promisify(signWithCallback);

/** forge reads and writes RSA keys only: any key is put in this one's place. */
export const PLACEHOLDER_KEY = pki.setRsaPublicKey(
  new forge.jsbn.BigInteger('3'),
  new forge.jsbn.BigInteger('3'),
);

export type Sequence = forge.asn1.Asn1 & { readonly value: forge.asn1.Asn1[] };

/** What RFC 2986 and RFC 5280 have in common: what is signed, the algorithm, the signature. */
export async function signed(
  type: string,
  content: forge.asn1.Asn1,
  algorithm: string,
  privateKey: KeyObject,
): Promise<string> {
  const signature = await signBytes('sha256', toDer(content), privateKey);
  // No bits of the last byte are unused.
  const bits = universal(BITSTRING, `\0${signature.toString('latin1')}`);
  return toPem(type, sequenceOf(content, algorithmIdentifier(algorithm), bits));
}

export function toPem(type: string, value: forge.asn1.Asn1): string {
  const body = toDer(value).toString('latin1');
  return forge.pem.encode({ type, body }).replaceAll('\r\n', '\n');
}

/** RSA's has parameters that say nothing, ECDSA's has none (RFC 4055 §5, RFC 5758 §3.2). */
export function algorithmIdentifier(algorithm: string): forge.asn1.Asn1 {
  const parameters = algorithm === RSA_SHA256 ? [universal(NULL, '')] : [];
  return sequenceOf(oid(algorithm), ...parameters);
}

/** A name of one member: the beginning of a text. UTF-8, for a PrintableString has no `_`. */
export function commonName(text: string): forge.pki.CertificateField[] {
  const value = text.slice(0, COMMON_NAME_CHARACTERS);
  return [{ name: 'commonName', value, valueTagClass: UTF8 as never }];
}

export function parseDer(bytes: Uint8Array): forge.asn1.Asn1 {
  // Bit strings stay closed: what is in a signature is nobody's structure.
  const options = { strict: true, parseAllBytes: true, decodeBitStrings: false };
  return asn1.fromDer(Buffer.from(bytes).toString('latin1'), options as never);
}

export function toDer(value: forge.asn1.Asn1): Buffer {
  return Buffer.from(asn1.toDer(value).getBytes(), 'latin1');
}

export function universal(
  type: forge.asn1.Type,
  value: string | forge.asn1.Asn1[],
): forge.asn1.Asn1 {
  return asn1.create(asn1.Class.UNIVERSAL, type, Array.isArray(value), value);
}

export function sequenceOf(...members: forge.asn1.Asn1[]): forge.asn1.Asn1 {
  return universal(SEQUENCE, members);
}

export function oid(text: string): forge.asn1.Asn1 {
  return universal(OID, asn1.oidToDer(text).getBytes());
}

export function octets(bytes: Uint8Array): forge.asn1.Asn1 {
  return universal(OCTETSTRING, Buffer.from(bytes).toString('latin1'));
}

export function integer(value: number): forge.asn1.Asn1 {
  return universal(INTEGER, asn1.integerToDer(value).getBytes());
}

export function sequence(value: forge.asn1.Asn1 | undefined): Sequence {
  const isSequence =
    value?.tagClass === asn1.Class.UNIVERSAL && value.type === SEQUENCE && value.constructed;
  if (!isSequence || !Array.isArray(value.value)) throw new TypeError('Not a SEQUENCE.');
  return value as Sequence;
}

export function toBytes(value: forge.asn1.Asn1 | undefined, type: forge.asn1.Type): Buffer {
  const isOfType = value?.tagClass === asn1.Class.UNIVERSAL && value.type === type;
  if (!isOfType || typeof value.value !== 'string') throw new TypeError(`Not of type ${type}.`);
  return Buffer.from(value.value, 'latin1');
}

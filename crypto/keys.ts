import {
  createHash,
  createPublicKey,
  createSecretKey,
  generateKeyPair,
  randomBytes,
  type KeyObject,
} from 'node:crypto';
import { promisify } from 'node:util';
import { calculateJwkThumbprint } from 'jose';
import { x25519KeySchema } from '../protocol/envelope-schema.ts';
import { formatNodeId, type NodeId } from '../protocol/ids.ts';
import type { RequesterKey } from '../protocol/receive.ts';
import { EnvelopeError } from './errors.ts';

const RSA_BITS = 3072;
const RSA_BITS_MAX = 4096;
const generate = promisify(generateKeyPair);

/** A private key and its public half. */
export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** A node's identity. Two pairs, so that no signature can be had by asking for a decryption. */
export interface NodeKeys {
  readonly nodeId: NodeId;
  readonly signing: KeyPair;
  readonly encryption: KeyPair;
}

/** An X25519 key pair of a ring; `kid` is the RFC 7638 thumbprint (SHA-256, base64url). */
export interface X25519Key {
  readonly kid: string;
  readonly publicJwk: RequesterKey;
  readonly privateKey: KeyObject;
}

/** A symmetric key for A256KW; `kid` is 16 random bytes in base64url. */
export interface WrapKey {
  readonly kid: string;
  readonly key: KeyObject;
}

/** The first key is current and seals; all of them open, so a rotation loses nothing in flight. */
export type Ring<Key extends { readonly kid: string }> = readonly [Key, ...Key[]];

/** Two RSA-3072 pairs, made off the event loop: about a second on one core. */
export async function generateNodeKeys(): Promise<NodeKeys> {
  const [signing, encryption] = await Promise.all([generateRsa(), generateRsa()]);
  return nodeKeysOf(signing, encryption);
}

/** Puts a node's two pairs together. */
export function nodeKeysOf(signing: KeyPair, encryption: KeyPair): NodeKeys {
  const nodeId = nodeIdOf(exportSpki(signing.publicKey));
  return { nodeId, signing, encryption };
}

/** A node's id: SHA-256 of its signing key as SubjectPublicKeyInfo DER (RFC 5280). */
export function nodeIdOf(signingPublicKeySpkiDer: Uint8Array): NodeId {
  return formatNodeId(createHash('sha256').update(signingPublicKeySpkiDer).digest());
}

/** SubjectPublicKeyInfo DER, the form in which public keys are registered and stored. */
export function exportSpki(publicKey: KeyObject): Buffer {
  return publicKey.export({ format: 'der', type: 'spki' });
}

/**
 * Reads a node's public key as registered. Throws `key.unsuitable` unless it is RSA with 3072 to
 * 4096 bits and the exponent 65537, in exact DER: weaker keys can be forged, larger ones or odd
 * exponents make every verification slow, and two encodings of one key would be two node ids.
 */
export function rsaPublicKeyFromSpki(der: Uint8Array): KeyObject {
  const key = parseSpki(der);
  const { modulusLength = 0, publicExponent } = key.asymmetricKeyDetails ?? {};
  const suitable =
    key.asymmetricKeyType === 'rsa' &&
    modulusLength >= RSA_BITS &&
    modulusLength <= RSA_BITS_MAX &&
    publicExponent === 65_537n &&
    exportSpki(key).equals(der);
  if (!suitable) throw unsuitable(`${key.asymmetricKeyType}, ${modulusLength} bits`);
  return key;
}

/** A new X25519 pair. */
export async function generateX25519Key(): Promise<X25519Key> {
  const { privateKey } = await generate('x25519');
  return x25519KeyOf(privateKey);
}

/** An X25519 pair from its private key. */
export async function x25519KeyOf(privateKey: KeyObject): Promise<X25519Key> {
  const { kty, crv, x } = createPublicKey(privateKey).export({ format: 'jwk' });
  const publicJwk = x25519KeySchema.parse({ kty, crv, x });
  return { kid: await thumbprint(publicJwk), publicJwk, privateKey };
}

/** The `kid` of a public X25519 key: its RFC 7638 thumbprint. The last few are remembered. */
export function thumbprint(key: RequesterKey): Promise<string> {
  return remembered(thumbprints, key.x, () => calculateJwkThumbprint(key, 'sha256'));
}

/** A new key for a wrap ring. */
export function generateWrapKey(): WrapKey {
  return wrapKeyOf(randomBytes(16).toString('base64url'), randomBytes(32));
}

/** A wrap key from its 32 bytes. */
export function wrapKeyOf(kid: string, bytes: Uint8Array): WrapKey {
  return { kid, key: createSecretKey(bytes) };
}

/**
 * `rsaPublicKeyFromSpki` for the base64 text that the database has. The last keys are remembered:
 * checking one takes as long as using it.
 */
export function rsaPublicKeyFromBase64(spki: string): KeyObject {
  return remembered(rsaKeys, spki, () => rsaPublicKeyFromSpki(Buffer.from(spki, 'base64')));
}

/** About a kilobyte each; more nodes than that only cost time. */
const REMEMBERED_MAX = 1_000;
const rsaKeys = new Map<string, KeyObject>();
const thumbprints = new Map<string, Promise<string>>();

/** A pure function's answer, from the map if it is there; the oldest makes room. */
function remembered<Value>(known: Map<string, Value>, key: string, make: () => Value): Value {
  const found = known.get(key);
  if (found !== undefined) return found;
  const value = make();
  const [oldest] = known.size < REMEMBERED_MAX ? [] : known.keys();
  if (oldest !== undefined) known.delete(oldest);
  known.set(key, value);
  return value;
}

/** Makes `key` current; of the older keys only the newest stay, `keysMax` in all. */
export function rotated<Key extends { readonly kid: string }>(
  ring: Ring<Key>,
  key: Key,
  keysMax: number,
): Ring<Key> {
  return [key, ...ring.slice(0, keysMax - 1)];
}

/** The ring's key of that name; throws `envelope.unknown_key`. */
export function keyOf<Key extends { readonly kid: string }>(ring: Ring<Key>, kid: string): Key {
  const key = ring.find((candidate) => candidate.kid === kid);
  if (key) return key;
  const known = ring.map((candidate) => candidate.kid).join(', ');
  throw new EnvelopeError(
    'envelope.unknown_key',
    `Sealed to key ${JSON.stringify(kid)}, but the ring has ${known}. Fetch the current key.`,
  );
}

/** An RSA-3072 pair, made off the event loop: about half a second on one core. */
export function generateRsa(): Promise<KeyPair> {
  return generate('rsa', { modulusLength: RSA_BITS, publicExponent: 65_537 });
}

function parseSpki(der: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' });
  } catch (cause) {
    throw unsuitable('it is not SubjectPublicKeyInfo DER', cause);
  }
}

function unsuitable(found: string, cause?: unknown): EnvelopeError {
  return new EnvelopeError(
    'key.unsuitable',
    `A node's public key must be RSA with ${RSA_BITS} to ${RSA_BITS_MAX} bits and exponent ` +
      `65537, as SubjectPublicKeyInfo DER; found: ${found}.`,
    { cause },
  );
}

import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import {
  generateNodeKeys,
  generateWrapKey,
  generateX25519Key,
  nodeKeysOf,
  rotated,
  rsaPublicKeyFromSpki,
  exportSpki,
  wrapKeyOf,
  x25519KeyOf,
  type KeyPair,
  type NodeKeys,
  type Ring,
  type WrapKey,
  type X25519Key,
} from './keys.ts';
import { invalidKeyFile, readOrCreatePrivate, replacePrivate } from './private-files.ts';
import { exportPrivatePem, importPrivatePem, isEncrypted } from './private-pem.ts';

/** Enough to open what was sealed two rotations ago. */
const RING_KEYS_MAX = 3;

const bytes32 = z.string().regex(/^[A-Za-z0-9_-]{43}$/);
const nodeKeysFile = z.strictObject({ signing: z.string(), encryption: z.string() });
const ringFile = z.strictObject({
  keys: z.array(z.strictObject({ kid: z.string().min(1), key: bytes32 })).min(1),
});
/** PKCS #8 of an X25519 key is these bytes and the 32 of the scalar (RFC 8410 §7). */
const X25519_PKCS8_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');

/** How one kind of key gets in and out of a ring file. */
interface KeyKind<Key extends { readonly kid: string }> {
  generate(): Promise<Key>;
  encode(key: Key): Buffer;
  decode(kid: string, bytes: Buffer): Promise<Key>;
}

const wrapKind: KeyKind<WrapKey> = {
  generate: async () => generateWrapKey(),
  encode: ({ key }) => key.export(),
  decode: async (kid, bytes) => wrapKeyOf(kid, bytes),
};

const x25519Kind: KeyKind<X25519Key> = {
  generate: generateX25519Key,
  encode: ({ privateKey }) =>
    privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(X25519_PKCS8_PREFIX.length),
  decode: (_kid, bytes) => {
    const key = Buffer.concat([X25519_PKCS8_PREFIX, bytes]);
    return x25519KeyOf(createPrivateKey({ key, format: 'der', type: 'pkcs8' }));
  },
};

/** How the private keys of a node are encrypted in their file. */
export interface Passphrases {
  /** The one that they shall have, and have; none: they aren't encrypted. */
  readonly passphrase?: string | undefined;
  /** The one that they may still have: with it they are read, and written as `passphrase` says. */
  readonly before?: string | undefined;
}

/**
 * A node's keys from `<directory>/node-keys.json` (both pairs in one file, so that a crash can't
 * leave half an identity); made on first use. Keys that aren't encrypted are with the first
 * passphrase. Throws `key.file_exposed`, `key.file_invalid`, `key.passphrase_missing` or
 * `key.passphrase_wrong`, and leaves the file as it is.
 */
export async function loadOrCreateNodeKeys(
  directory: string,
  passphrases: Passphrases = {},
): Promise<NodeKeys> {
  const path = join(directory, 'node-keys.json');
  const { passphrase } = passphrases;
  const text = await readOrCreatePrivate(path, async () =>
    encodeNodeKeys(await generateNodeKeys(), passphrase),
  );
  const { signing, encryption } = parse(path, nodeKeysFile, text);
  const opened = [signing, encryption].map((pem) => openNodeKey(path, pem, passphrases));
  const [first, second] = opened;
  if (!first || !second) throw invalidKeyFile(path, 'it lacks a key');
  const keys = nodeKeysOf(first.pair, second.pair);
  if (!opened.every(({ isAsAsked }) => isAsAsked))
    await replacePrivate(path, encodeNodeKeys(keys, passphrase));
  return keys;
}

/** A symmetric ring from `<directory>/<name>.json`; made with one key on first use. */
export function loadOrCreateWrapRing(directory: string, name: string): Promise<Ring<WrapKey>> {
  return loadOrCreateRing(join(directory, `${name}.json`), wrapKind);
}

/** An X25519 ring from `<directory>/<name>.json`; made with one key on first use. */
export function loadOrCreateX25519Ring(directory: string, name: string): Promise<Ring<X25519Key>> {
  return loadOrCreateRing(join(directory, `${name}.json`), x25519Kind);
}

/** Adds a current key to a symmetric ring and keeps the two before it. One caller at a time. */
export function rotateWrapRing(directory: string, name: string): Promise<Ring<WrapKey>> {
  return rotateRing(join(directory, `${name}.json`), wrapKind);
}

/** Adds a current key to an X25519 ring and keeps the two before it. One caller at a time. */
export function rotateX25519Ring(directory: string, name: string): Promise<Ring<X25519Key>> {
  return rotateRing(join(directory, `${name}.json`), x25519Kind);
}

async function loadOrCreateRing<Key extends { readonly kid: string }>(
  path: string,
  kind: KeyKind<Key>,
): Promise<Ring<Key>> {
  const text = await readOrCreatePrivate(path, async () =>
    encodeRing([await kind.generate()], kind),
  );
  const { keys } = parse(path, ringFile, text);
  const [current, ...older] = await Promise.all(
    keys.map(({ kid, key }) => kind.decode(kid, Buffer.from(key, 'base64url'))),
  );
  if (!current) throw invalidKeyFile(path, 'it has no key');
  return [current, ...older];
}

async function rotateRing<Key extends { readonly kid: string }>(
  path: string,
  kind: KeyKind<Key>,
): Promise<Ring<Key>> {
  const ring = await loadOrCreateRing(path, kind);
  const next = rotated(ring, await kind.generate(), RING_KEYS_MAX);
  await replacePrivate(path, encodeRing(next, kind));
  return next;
}

function encodeRing<Key extends { readonly kid: string }>(
  ring: Ring<Key>,
  kind: KeyKind<Key>,
): string {
  const keys = ring.map((key) => ({ kid: key.kid, key: kind.encode(key).toString('base64url') }));
  return encodeFile({ keys } satisfies z.infer<typeof ringFile>);
}

function encodeNodeKeys({ signing, encryption }: NodeKeys, passphrase?: string): string {
  return encodeFile({
    signing: exportPrivatePem(signing.privateKey, passphrase),
    encryption: exportPrivatePem(encryption.privateKey, passphrase),
  } satisfies z.infer<typeof nodeKeysFile>);
}

function encodeFile(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

function parse<Value>(path: string, schema: z.ZodType<Value>, text: string): Value {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // No cause: the parser's message quotes the text, and the text is key material.
    throw invalidKeyFile(path, 'it is not JSON');
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw invalidKeyFile(path, 'it has not the members such a file has');
}

/** One pair of a node, and whether its file has it encrypted, or not, as it shall be. */
function openNodeKey(path: string, pem: string, { passphrase, before }: Passphrases) {
  try {
    const pair = rsaPair(importPrivatePem(path, pem, passphrase));
    return { pair, isAsAsked: isEncrypted(pem) === (passphrase !== undefined) };
  } catch (error) {
    if (!isEncrypted(pem) || before === undefined) throw error;
    return { pair: rsaPair(importPrivatePem(path, pem, before)), isAsAsked: false };
  }
}

function rsaPair(privateKey: KeyObject): KeyPair {
  const publicKey = createPublicKey(privateKey);
  return { privateKey, publicKey: rsaPublicKeyFromSpki(exportSpki(publicKey)) };
}

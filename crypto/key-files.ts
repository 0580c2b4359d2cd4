import { createPrivateKey, createPublicKey, randomUUID, type KeyObject } from 'node:crypto';
import { link, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { EnvelopeError } from './errors.ts';
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

/**
 * A node's keys from `<directory>/node-keys.json` (both pairs in one file, so that a crash can't
 * leave half an identity); made on first use. Throws `key.file_exposed` or `key.file_invalid`.
 */
export async function loadOrCreateNodeKeys(directory: string): Promise<NodeKeys> {
  const path = join(directory, 'node-keys.json');
  const text = await readOrCreate(path, async () => {
    const { signing, encryption } = await generateNodeKeys();
    return { signing: exportPem(signing), encryption: exportPem(encryption) };
  });
  const { signing, encryption } = parse(path, nodeKeysFile, text);
  return nodeKeysOf(rsaPair(path, signing), rsaPair(path, encryption));
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
  const text = await readOrCreate(path, async () => encodeRing([await kind.generate()], kind));
  const { keys } = parse(path, ringFile, text);
  const [current, ...older] = await Promise.all(
    keys.map(({ kid, key }) => kind.decode(kid, Buffer.from(key, 'base64url'))),
  );
  if (!current) throw invalid(path, 'it has no key');
  return [current, ...older];
}

async function rotateRing<Key extends { readonly kid: string }>(
  path: string,
  kind: KeyKind<Key>,
): Promise<Ring<Key>> {
  const ring = await loadOrCreateRing(path, kind);
  const next = rotated(ring, await kind.generate(), RING_KEYS_MAX);
  const temporary = await writeTemporary(path, encodeRing(next, kind));
  await rename(temporary, path);
  return next;
}

function encodeRing<Key extends { readonly kid: string }>(
  ring: Ring<Key>,
  kind: KeyKind<Key>,
): z.infer<typeof ringFile> {
  return {
    keys: ring.map((key) => ({ kid: key.kid, key: kind.encode(key).toString('base64url') })),
  };
}

async function readOrCreate(path: string, make: () => Promise<unknown>): Promise<string> {
  const found = await readPrivate(path);
  if (found !== undefined) return found;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = await writeTemporary(path, await make());
  try {
    // A link, unlike a rename, fails if another process was first: then its keys are the keys.
    await link(temporary, path);
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  } finally {
    await rm(temporary, { force: true });
  }
  const written = await readPrivate(path);
  if (written === undefined) throw invalid(path, 'it vanished while it was being created');
  return written;
}

async function writeTemporary(path: string, value: unknown): Promise<string> {
  const temporary = `${path}.${randomUUID()}.tmp`;
  const file = await open(temporary, 'wx', 0o600);
  try {
    await file.writeFile(`${JSON.stringify(value, undefined, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  return temporary;
}

/** A file that nobody else can read; undefined when it is not there. @throws `key.file_exposed` */
export async function readPrivate(path: string): Promise<string | undefined> {
  const file = await open(path, 'r').catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  });
  if (!file) return undefined;
  try {
    // Of the open file, so that it can't be swapped between the check and the read.
    const { mode } = await file.stat();
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) throw exposed(path, mode);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

function parse<Value>(path: string, schema: z.ZodType<Value>, text: string): Value {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // No cause: the parser's message quotes the text, and the text is key material.
    throw invalid(path, 'it is not JSON');
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw invalid(path, 'it has not the members such a file has');
}

function rsaPair(path: string, pem: string): KeyPair {
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(pem);
  } catch {
    throw invalid(path, 'it has a member that is not a private key in PEM');
  }
  const publicKey = createPublicKey(privateKey);
  return { privateKey, publicKey: rsaPublicKeyFromSpki(exportSpki(publicKey)) };
}

function exportPem({ privateKey }: KeyPair): string {
  return privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
}

function exposed(path: string, mode: number): EnvelopeError {
  const shown = (mode & 0o777).toString(8).padStart(4, '0');
  return new EnvelopeError(
    'key.file_exposed',
    `Other users of this machine can read or change the private keys in ${path} (mode ${shown}). ` +
      `Run: chmod 600 '${path}'; if others may have read it, move it away to get new keys.`,
  );
}

function invalid(path: string, problem: string): EnvelopeError {
  return new EnvelopeError(
    'key.file_invalid',
    `The key file ${path} can't be used: ${problem}. Restore it from a backup, or move it away ` +
      'to get new keys; a node with new keys has to register again.',
  );
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

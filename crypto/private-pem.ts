import {
  createCipheriv,
  createPrivateKey,
  pbkdf2Sync,
  randomBytes,
  type KeyObject,
} from 'node:crypto';
import forge from 'node-forge';
import { integer, octets, oid, sequenceOf, toPem, universal } from './der.ts';
import { EnvelopeError } from './errors.ts';
import { invalidKeyFile } from './private-files.ts';

const ENCRYPTED = '-----BEGIN ENCRYPTED PRIVATE KEY-----';
/** What OWASP asks for (2023): guessing a passphrase costs that much each time. */
const PBKDF2_ITERATIONS = 600_000;
const SALT_BYTES = 16;
const PBES2 = '1.2.840.113549.1.5.13';
const PBKDF2 = '1.2.840.113549.1.5.12';
const HMAC_SHA256 = '1.2.840.113549.2.9';
const AES_256_CBC = '2.16.840.1.101.3.4.1.42';

/** Whether a private key in PEM needs a passphrase. */
export function isEncrypted(pem: string): boolean {
  return pem.trimStart().startsWith(ENCRYPTED);
}

/**
 * A private key as PKCS #8 in PEM. With a passphrase it is encrypted by PBES2: AES-256-CBC under a
 * key from PBKDF2-HMAC-SHA-256, 600,000 iterations, for which node:crypto would take 2,048.
 */
export function exportPrivatePem(key: KeyObject, passphrase?: string): string {
  const pem = key.export({ format: 'pem', type: 'pkcs8' }).toString();
  if (passphrase === undefined) return pem;
  return encrypted(key.export({ format: 'der', type: 'pkcs8' }), passphrase);
}

/** EncryptedPrivateKeyInfo of PKCS #8 by PBES2 (RFC 8018 §6.2, RFC 5958 §3), in PEM. */
function encrypted(pkcs8: Buffer, passphrase: string): string {
  const [salt, iv] = [randomBytes(SALT_BYTES), randomBytes(16)];
  const key = pbkdf2Sync(passphrase, salt, PBKDF2_ITERATIONS, 32, 'sha256');
  const cipher = createCipheriv('aes-256-cbc', key, iv);
  const content = Buffer.concat([cipher.update(pkcs8), cipher.final()]);
  const derivation = sequenceOf(
    octets(salt),
    integer(PBKDF2_ITERATIONS),
    sequenceOf(oid(HMAC_SHA256), universal(forge.asn1.Type.NULL, '')),
  );
  const scheme = sequenceOf(
    sequenceOf(oid(PBKDF2), derivation),
    sequenceOf(oid(AES_256_CBC), octets(iv)),
  );
  const info = sequenceOf(sequenceOf(oid(PBES2), scheme), octets(content));
  return toPem('ENCRYPTED PRIVATE KEY', info);
}

/**
 * Reads a private key in PEM.
 *
 * @param path of its file, for the error.
 * @throws EnvelopeError `key.passphrase_missing`, `key.passphrase_wrong` or `key.file_invalid`;
 * none has a cause, since a parser's message may quote what it reads.
 */
export function importPrivatePem(path: string, pem: string, passphrase?: string): KeyObject {
  if (!isEncrypted(pem)) return read(pem) ?? refuse(path);
  if (passphrase === undefined)
    throw new EnvelopeError(
      'key.passphrase_missing',
      `The private keys in ${path} are encrypted. Set PLX_NODE_KEYS_PASSPHRASE to their ` +
        'passphrase; nothing was changed.',
    );
  const key = read(pem, passphrase);
  if (key) return key;
  throw new EnvelopeError(
    'key.passphrase_wrong',
    `The passphrase doesn't open the private keys in ${path}. Set PLX_NODE_KEYS_PASSPHRASE to ` +
      'the one by which they were encrypted; nothing was changed.',
  );
}

function read(key: string, passphrase?: string): KeyObject | undefined {
  try {
    return createPrivateKey({ key, ...(passphrase !== undefined && { passphrase }) });
  } catch {
    return undefined;
  }
}

function refuse(path: string): never {
  throw invalidKeyFile(path, 'it has a member that is not a private key in PEM');
}

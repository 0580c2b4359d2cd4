import { createPrivateKey, type KeyObject } from 'node:crypto';
import forge from 'node-forge';
import { EnvelopeError } from './errors.ts';
import { invalidKeyFile } from './private-files.ts';

const { asn1, pki } = forge;
const ENCRYPTED = '-----BEGIN ENCRYPTED PRIVATE KEY-----';
/** What OWASP asks for (2023): guessing a passphrase costs that much each time. */
const PBKDF2_ITERATIONS = 600_000;
const SALT_BYTES = 16;

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
  const der = key.export({ format: 'der', type: 'pkcs8' });
  const info = asn1.fromDer(der.toString('latin1'));
  const encrypted = pki.encryptPrivateKeyInfo(info, forge.util.encodeUtf8(passphrase), {
    algorithm: 'aes256',
    prfAlgorithm: 'sha256',
    count: PBKDF2_ITERATIONS,
    saltSize: SALT_BYTES,
  });
  return pki.encryptedPrivateKeyToPem(encrypted).replaceAll('\r\n', '\n');
}

/**
 * Reads a private key in PEM.
 *
 * @param path of its file, for the error.
 * @throws EnvelopeError `key.passphrase_missing`, `key.passphrase_wrong` or `key.file_invalid`; none
 * has a cause, since a parser's message may quote what it reads.
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
    `The passphrase doesn't open the private keys in ${path}. Set PLX_NODE_KEYS_PASSPHRASE to the ` +
      'one by which they were encrypted; nothing was changed.',
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

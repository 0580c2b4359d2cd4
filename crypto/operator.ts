import { randomBytes, randomUUID } from 'node:crypto';
import { link, mkdir, open, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { privateKeyToAccount } from 'viem/accounts';
import { bindingTypedData, type Address, type Binding } from '../protocol/binding.ts';
import type { NodeId } from '../protocol/ids.ts';
import { EnvelopeError } from './errors.ts';
import { readPrivate } from './private-files.ts';

/** An account's private key on secp256k1: `0x` and 64 hex digits. */
export type OperatorKey = `0x${string}`;

/** What an operator's signature on a binding depends on. */
export interface BindingTerms {
  readonly chainId: number;
  readonly nodeId: NodeId;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** The address of a key's account, in lower case. */
export function operatorAddress(key: OperatorKey): Address {
  return privateKeyToAccount(key).address.toLowerCase() as Address;
}

/** Signs for a node with its operator's key (EIP-712). */
export async function signBinding(
  key: OperatorKey,
  { chainId, nodeId, expiresAt }: BindingTerms,
): Promise<Binding> {
  const account = privateKeyToAccount(key);
  const operator = operatorAddress(key);
  const typed = bindingTypedData(chainId, nodeId, { operator, expiresAt });
  return { operator, expiresAt, signature: await account.signTypedData(typed) };
}

/** Signs a text as wallets do (`personal_sign`, EIP-191). */
export function signText(key: OperatorKey, text: string): Promise<`0x${string}`> {
  return privateKeyToAccount(key).signMessage({ message: text });
}

/**
 * Draws a key and puts it into a file of its own, mode 0600.
 *
 * @throws the system's `EEXIST` rather than write over another key.
 */
export async function createOperatorKey(path: string): Promise<OperatorKey> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const key: OperatorKey = `0x${randomBytes(32).toString('hex')}`;
  // Refused before anything is written, should the curve not have it: 1 of 2^128 numbers.
  privateKeyToAccount(key);
  const temporary = `${path}.${randomUUID()}.tmp`;
  const file = await open(temporary, 'wx', 0o600);
  try {
    await file.writeFile(`${key}\n`);
    await file.sync();
    // Whole or not at all; a link, unlike a rename, fails if there is a file already.
    await link(temporary, path);
  } finally {
    await file.close();
    await rm(temporary, { force: true });
  }
  return key;
}

/**
 * The key in a file, with or without `0x`.
 *
 * @returns undefined when there is no such file.
 * @throws EnvelopeError `key.file_exposed` when others can read it, `key.file_invalid`.
 */
export async function readOperatorKey(path: string): Promise<OperatorKey | undefined> {
  const text = await readPrivate(path);
  if (text === undefined) return undefined;
  const digits = /^(?:0x)?([0-9a-f]{64})$/i.exec(text.trim())?.[1];
  try {
    if (digits === undefined) throw new TypeError();
    const key: OperatorKey = `0x${digits}`;
    privateKeyToAccount(key);
    return key;
  } catch {
    // No cause: it could quote the key.
    throw new EnvelopeError(
      'key.file_invalid',
      `${path} holds no private key of an account: that is 0x and 64 hex digits.`,
    );
  }
}

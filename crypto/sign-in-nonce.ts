import { createHmac, createSecretKey, hkdfSync, randomBytes, type KeyObject } from 'node:crypto';
import type { Address } from '../protocol/binding.ts';
import { sameSecret } from './channel.ts';
import type { Ring, X25519Key } from './keys.ts';

const RANDOM_BYTES = 16;
const MAC_BYTES = 16;
/** When it ends, in Unix seconds, 16 random bytes, and the MAC: hex, as EIP-4361 has nonces. */
const NONCE = /^([0-9a-f]{8})([0-9a-f]{32})([0-9a-f]{32})$/;

/**
 * What nonces of sign-in messages are made and known by, one key for each of the ring: HKDF-SHA-256
 * (RFC 5869) of its private key. Gateways that share the ring know each other's nonces.
 */
export function signInNonceKeys(ring: Ring<X25519Key>): readonly [KeyObject, ...KeyObject[]] {
  const [current, ...earlier] = ring;
  return [nonceKey(current), ...earlier.map(nonceKey)];
}

function nonceKey({ privateKey }: X25519Key): KeyObject {
  const der = privateKey.export({ format: 'der', type: 'pkcs8' });
  return createSecretKey(Buffer.from(hkdfSync('sha256', der, '', 'parallelix.sign-in.v1', 32)));
}

/** A nonce for one address. It isn't stored: who brings it back proves that it was given. */
export function drawSignInNonce(
  [key]: readonly [KeyObject, ...KeyObject[]],
  address: Address,
  endsAt: Date,
): string {
  const seconds = Math.floor(endsAt.getTime() / 1_000);
  const given = seconds.toString(16).padStart(8, '0') + randomBytes(RANDOM_BYTES).toString('hex');
  return given + macOf(key, address, given);
}

/**
 * When a nonce, from outside perhaps, ends; whether it was used the caller has to see to.
 *
 * @returns undefined if it wasn't given to that address.
 */
export function signInNonceEnd(
  keys: readonly KeyObject[],
  address: Address,
  nonce: string,
): Date | undefined {
  const [, seconds = '', random = '', mac = ''] = NONCE.exec(nonce) ?? [];
  const isGiven = keys.some((key) => sameSecret(mac, macOf(key, address, seconds + random)));
  return isGiven ? new Date(Number.parseInt(seconds, 16) * 1_000) : undefined;
}

function macOf(key: KeyObject, address: Address, given: string): string {
  const hmac = createHmac('sha256', key).update(`${given} ${address}`);
  return hmac.digest().subarray(0, MAC_BYTES).toString('hex');
}

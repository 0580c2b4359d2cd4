import { createHash, randomBytes } from 'node:crypto';
import { KEY_PREFIX } from '../protocol/keys.ts';

/** Characters of a key by which people tell theirs apart: they leave 232 bits unknown. */
const HINT_CHARACTERS = KEY_PREFIX.length + 4;

/** The secret of an API key: shown once, and stored as its hash alone. */
export function drawApiKey(): string {
  return KEY_PREFIX + randomBytes(32).toString('base64url');
}

/** SHA-256 in hex. It tells nothing of a key: those have 256 random bits. */
export function apiKeyHash(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

export function apiKeyHint(key: string): string {
  return key.slice(0, HINT_CHARACTERS);
}

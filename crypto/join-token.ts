import { createHash, randomBytes } from 'node:crypto';

/** What lets nodes into a network that isn't open: shown once, and stored as its hash alone. */
export function drawJoinToken(): string {
  return `plx-join-${randomBytes(24).toString('base64url')}`;
}

/** SHA-256 in hex. It tells nothing of a token: those have 192 random bits. */
export function joinTokenHash(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

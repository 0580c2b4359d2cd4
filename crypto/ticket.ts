import { randomBytes, type KeyObject } from 'node:crypto';
import { compactDecrypt } from 'jose';
import { canonicalBytes } from '../protocol/canonical.ts';
import { ticketSchema, type Ticket } from '../protocol/envelope-schema.ts';
import { encryptContentKey } from './dispatch.ts';
import { EnvelopeError } from './errors.ts';
import { encodeHeader, sealGcm } from './gcm.ts';
import { parseJsonBytes, undecryptable } from './parse.ts';

/** A ticket is under 1 KB; more is no ticket. */
const TICKET_CHARACTERS_MAX = 4096;

/**
 * Seals to one node what it has to know beside the request: compact JWE, RSA-OAEP-256 and A256GCM.
 * Throws `envelope.malformed` if the ticket breaks a limit. It costs the node a second RSA private
 * operation, some milliseconds on another thread; docs/decisions/0003-envelopes.md says why.
 */
export function sealTicket(ticket: Ticket, nodeEncryptionPublicKey: KeyObject): string {
  const plaintext = canonicalBytes(ticket);
  parseJsonBytes(ticketSchema, plaintext, 'ticket');
  const contentKey = randomBytes(32);
  const header = encodeHeader({ alg: 'RSA-OAEP-256', enc: 'A256GCM' });
  const encryptedKey = encryptContentKey(nodeEncryptionPublicKey, contentKey);
  const { iv, ciphertext, tag } = sealGcm(contentKey, header, plaintext);
  contentKey.fill(0);
  return [header, encryptedKey, iv, ciphertext, tag].join('.');
}

/** Opens a ticket, on the node. Throws `EnvelopeError` with an `envelope.…` code. */
export async function openTicket(sealed: unknown, nodePrivateKey: KeyObject): Promise<Ticket> {
  if (typeof sealed !== 'string')
    throw new EnvelopeError('envelope.malformed', 'The ticket is not a compact JWE.');
  if (sealed.length > TICKET_CHARACTERS_MAX)
    throw new EnvelopeError('envelope.oversize', 'The ticket is too long.');
  return parseJsonBytes(ticketSchema, await decrypt(sealed, nodePrivateKey), 'ticket');
}

async function decrypt(sealed: string, nodePrivateKey: KeyObject): Promise<Uint8Array> {
  try {
    const { plaintext } = await compactDecrypt(sealed, nodePrivateKey, {
      keyManagementAlgorithms: ['RSA-OAEP-256'],
      contentEncryptionAlgorithms: ['A256GCM'],
      maxDecompressedLength: 0,
    });
    return plaintext;
  } catch (cause) {
    throw undecryptable('ticket', cause);
  }
}

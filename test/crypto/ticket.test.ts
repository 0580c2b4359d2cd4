import assert from 'node:assert/strict';
import { CompactEncrypt } from 'jose';
import { makeChannelToken } from '../../crypto/channel.ts';
import { openTicket, sealTicket } from '../../crypto/ticket.ts';
import type { Ticket } from '../../protocol/envelope-schema.ts';
import vector from '../../protocol/vectors/request-envelope.json' with { type: 'json' };
import {
  context,
  encryptionPrivateKey,
  encryptionPublicKey,
  failsAs,
  secretOf,
  signingPrivateKey,
} from './fixtures.ts';

const secret = secretOf(vector.channelSecret);
const ticket: Ticket = {
  ...context,
  deadlineSeconds: 120,
  seed: 7,
  stream: true,
  channelToken: makeChannelToken(secret, context),
};

function seal(body: unknown, header: object = {}): Promise<string> {
  return new CompactEncrypt(Buffer.from(JSON.stringify(body)))
    .setProtectedHeader({ alg: 'RSA-OAEP-256', enc: 'A256GCM', ...header })
    .encrypt(encryptionPublicKey);
}

describe('crypto/ticket', () => {
  it('opens the vector', async () => {
    assert.deepEqual(await openTicket(vector.sealedTicket, encryptionPrivateKey), vector.ticket);
    assert.deepEqual(vector.ticket, ticket);
  });

  it('gives back what was sealed, to the right key only', async () => {
    const sealed = sealTicket(ticket, encryptionPublicKey);
    assert.deepEqual(await openTicket(sealed, encryptionPrivateKey), ticket);
    await assert.rejects(openTicket(sealed, signingPrivateKey), failsAs('envelope.undecryptable'));
  });

  it('refuses altered and hostile tickets', async () => {
    const sealed = sealTicket(ticket, encryptionPublicKey);
    const parts = sealed.split('.');
    for (const index of parts.keys()) {
      const part = parts[index] ?? '';
      const altered = parts.with(index, (part.startsWith('A') ? 'B' : 'A') + part.slice(1));
      await assert.rejects(
        openTicket(altered.join('.'), encryptionPrivateKey),
        failsAs('envelope.undecryptable'),
      );
    }
    for (const [value, code] of [
      [undefined, 'envelope.malformed'],
      [{}, 'envelope.malformed'],
      ['', 'envelope.undecryptable'],
      ['A'.repeat(5000), 'envelope.oversize'],
      [await seal(ticket, { zip: 'DEF' }), 'envelope.undecryptable'],
      [await seal(ticket, { alg: 'RSA-OAEP' }), 'envelope.undecryptable'],
      [await seal(ticket, { enc: 'A128GCM' }), 'envelope.undecryptable'],
    ] as const)
      await assert.rejects(openTicket(value, encryptionPrivateKey), failsAs(code));
  });

  it('refuses tickets beyond the limits, on both sides', async () => {
    for (const change of [
      { extra: 1 },
      { dispatch: 0 },
      { deadlineSeconds: 86_401 },
      { deadlineSeconds: 0.5 },
      { seed: -1 },
      { channelToken: 'short' },
      { unitId: context.nodeId },
      { stream: 'yes' },
    ]) {
      const wrong = { ...ticket, ...change };
      await assert.rejects(
        openTicket(await seal(wrong), encryptionPrivateKey),
        failsAs('envelope.malformed'),
      );
      assert.throws(
        // @ts-expect-error: some of these are of another type too.
        () => sealTicket(wrong, encryptionPublicKey),
        failsAs('envelope.malformed'),
      );
    }
  });
});

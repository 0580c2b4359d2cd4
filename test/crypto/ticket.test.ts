import assert from 'node:assert/strict';
import { createHmac, createSecretKey } from 'node:crypto';
import * as fc from 'fast-check';
import { CompactEncrypt } from 'jose';
import { checkChannelToken, makeChannelToken } from '../../crypto/channel.ts';
import { openTicket, sealTicket } from '../../crypto/ticket.ts';
import type { Ticket } from '../../protocol/envelope-schema.ts';
import { formatNodeId, formatRequestId, formatSubTaskId } from '../../protocol/ids.ts';
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

describe('crypto/channel', () => {
  it('agrees with the vector, and with the formula', () => {
    const { unitId, dispatch, nodeId } = context;
    const number = Buffer.from(dispatch.toString(16).padStart(8, '0'), 'hex');
    const message = Buffer.concat([
      Buffer.from(unitId.slice(4), 'hex'),
      number,
      Buffer.from(nodeId.slice(3), 'hex'),
    ]);
    const key = Buffer.from(vector.channelSecret, 'base64url');
    const expected = createHmac('sha256', key).update(message).digest('base64url');
    assert.equal(makeChannelToken(secret, context), expected);
    assert.equal(vector.ticket.channelToken, expected);
  });

  it('authorises exactly one attempt by one node', () => {
    const raw = fc.uint8Array({ minLength: 32, maxLength: 32 });
    const dispatches = fc.integer({ min: 1, max: 0xffff_fffe });
    fc.assert(
      fc.property(raw, dispatches, raw, raw, (unit, dispatch, node, other) => {
        fc.pre(!Buffer.from(other).equals(unit) && !Buffer.from(other).equals(node));
        const mine = { unitId: formatRequestId(unit), dispatch, nodeId: formatNodeId(node) };
        const token = makeChannelToken(secret, mine);
        assert.ok(checkChannelToken(secret, mine, token));
        for (const change of [
          { unitId: formatSubTaskId(other) },
          { dispatch: dispatch + 1 },
          { nodeId: formatNodeId(other) },
        ])
          assert.ok(!checkChannelToken(secret, { ...mine, ...change }, token));
        assert.ok(!checkChannelToken(createSecretKey(other), mine, token));
      }),
    );
  });

  it('takes anything for a token', () => {
    const token = makeChannelToken(secret, context);
    for (const value of [
      '',
      token.slice(1),
      `${token}=`,
      `${token.slice(0, -1)}é`,
      undefined,
      {},
      7,
    ])
      assert.equal(checkChannelToken(secret, context, value), false);
  });
});

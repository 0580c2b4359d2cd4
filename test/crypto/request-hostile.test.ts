import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { rewrapRequest, sealRequest } from '../../crypto/request.ts';
import type { SealedRequest } from '../../protocol/envelope.ts';
import { PAYLOAD_BYTES_MAX } from '../../protocol/receive.ts';
import { failsAs, intakeKey, parameters, requesterKey, wrapKey } from './fixtures.ts';

function seal(plaintext: Uint8Array = Buffer.from('{}')): Promise<SealedRequest> {
  return sealRequest({
    plaintext,
    parameters,
    requesterKey: requesterKey.publicJwk,
    intakeKey: intakeKey.publicJwk,
  });
}

describe('crypto/request, from hostile callers', () => {
  it('refuses a payload above the limit on both sides, and takes one at it', async () => {
    const largest = await seal(randomBytes(PAYLOAD_BYTES_MAX));
    assert.ok(rewrapRequest(largest, [intakeKey], [wrapKey]));
    const tooLarge = Buffer.alloc(PAYLOAD_BYTES_MAX + 3);
    await assert.rejects(seal(tooLarge), failsAs('envelope.oversize'));
    const hostile = { ...largest, ciphertext: 'A'.repeat(2_000_000) };
    assert.throws(
      () => rewrapRequest(hostile, [intakeKey], [wrapKey]),
      failsAs('envelope.oversize'),
    );
  });

  it('refuses every envelope that is not exactly that of the protocol', async () => {
    const sealed = await seal();
    const [recipient] = sealed.recipients;
    assert.ok(recipient);
    const { header } = recipient;
    const withHeader = (change: object) => ({
      ...sealed,
      recipients: [{ ...recipient, header: { ...header, ...change } }],
    });
    const hostile: unknown[] = [
      undefined,
      null,
      'a.b.c.d.e',
      [],
      {},
      { ...sealed, extra: 1 },
      { ...sealed, unprotected: { zip: 'DEF' } },
      { ...sealed, recipients: [] },
      { ...sealed, recipients: [recipient, recipient] },
      { ...sealed, protected: Buffer.from('{"enc":"A128GCM"}').toString('base64url') },
      { ...sealed, protected: Buffer.from('{"enc": "A256GCM"}').toString('base64url') },
      { ...sealed, aad: undefined },
      { ...sealed, aad: sealed.aad.slice(1) },
      { ...sealed, iv: '' },
      { ...sealed, tag: `${sealed.tag.slice(0, -1)}B` },
      { ...sealed, ciphertext: 'not base64url!' },
      { ...sealed, ciphertext: '' },
      withHeader({ alg: 'ECDH-ES' }),
      withHeader({ alg: 'RSA1_5' }),
      withHeader({ alg: 'dir' }),
      withHeader({ apu: 'AA' }),
      withHeader({ kid: '' }),
      withHeader({ kid: 'k'.repeat(129) }),
      withHeader({ kid: 7 }),
      withHeader({ epk: undefined }),
      withHeader({ epk: { ...header.epk, crv: 'P-256' } }),
      withHeader({ epk: { ...header.epk, x: 'AA' } }),
      withHeader({ epk: { ...header.epk, d: header.epk.x } }),
    ];
    for (const jwe of hostile)
      assert.throws(
        () => rewrapRequest(jwe, [intakeKey], [wrapKey]),
        failsAs('envelope.malformed'),
        JSON.stringify(jwe),
      );
    assert.ok(rewrapRequest(sealed, [intakeKey], [wrapKey]));
  });

  it('refuses ephemeral keys of low order, which would fix the shared secret', async () => {
    const sealed = await seal();
    const [recipient] = sealed.recipients;
    assert.ok(recipient);
    // Orders 1, 2 and 8 on Curve25519.
    const points = [
      '00'.repeat(32),
      `01${'00'.repeat(31)}`,
      'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    ];
    for (const point of points) {
      const epk = { ...recipient.header.epk, x: Buffer.from(point, 'hex').toString('base64url') };
      const jwe = {
        ...sealed,
        recipients: [{ ...recipient, header: { ...recipient.header, epk } }],
      };
      assert.throws(
        () => rewrapRequest(jwe, [intakeKey], [wrapKey]),
        failsAs('envelope.undecryptable'),
      );
    }
  });
});

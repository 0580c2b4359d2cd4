import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import * as fc from 'fast-check';
import { unwrapForRing, wrapContentKey } from '../../crypto/content-key.ts';
import { dispatchContentKey } from '../../crypto/dispatch.ts';
import { wrapKeyOf } from '../../crypto/keys.ts';
import { encryptionPublicKey, failsAs, wrapKey } from './fixtures.ts';

const recipient = (encryptedKey: string) => ({
  header: { alg: 'A256KW' as const, kid: wrapKey.kid },
  encrypted_key: encryptedKey,
});

describe('crypto/content-key', () => {
  it('wraps as RFC 3394 §4.6 has it', () => {
    const hex = '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f';
    const { key } = wrapKeyOf('rfc', Buffer.from(hex, 'hex'));
    const content = '00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f';
    const wrapped =
      '28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21';
    const made = wrapContentKey(key, Buffer.from(content, 'hex'));
    assert.equal(Buffer.from(made, 'base64url').toString('hex'), wrapped);
  });

  it('gives back any content key of 32 bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
        const wrapped = wrapContentKey(wrapKey.key, bytes);
        assert.deepEqual(Uint8Array.from(unwrapForRing(recipient(wrapped), [wrapKey])), bytes);
      }),
    );
  });

  it('refuses genuine wraps of other lengths, and anything else', () => {
    const short = [16, 24, 40].map((length) => wrapContentKey(wrapKey.key, Buffer.alloc(length)));
    const foreign = createHash('sha256').update('x').digest('base64url');
    for (const encryptedKey of [...short, foreign, '', 'AA']) {
      const open = () => unwrapForRing(recipient(encryptedKey), [wrapKey]);
      assert.throws(open, failsAs('envelope.undecryptable'));
      const dispatch = () =>
        dispatchContentKey(recipient(encryptedKey), [wrapKey], encryptionPublicKey);
      assert.throws(dispatch, failsAs('envelope.undecryptable'));
    }
  });
});

import assert from 'node:assert/strict';
import { generateX25519Key } from '../../crypto/keys.ts';
import { drawSignInNonce, signInNonceEnd, signInNonceKeys } from '../../crypto/sign-in-nonce.ts';
import type { Address } from '../../protocol/binding.ts';

const ADDRESS: Address = `0x${'a'.repeat(40)}`;
const OTHER: Address = `0x${'b'.repeat(40)}`;
const ENDS_AT = new Date('2026-11-25T12:00:00.900Z');

describe('crypto/sign-in-nonce', () => {
  it('knows what it gave: to whom, and until when', async () => {
    const keys = signInNonceKeys([await generateX25519Key()]);
    const nonce = drawSignInNonce(keys, ADDRESS, ENDS_AT);
    assert.match(nonce, /^[0-9a-f]{72}$/);
    assert.notEqual(nonce, drawSignInNonce(keys, ADDRESS, ENDS_AT));
    assert.equal(signInNonceEnd(keys, ADDRESS, nonce)?.toISOString(), '2026-11-25T12:00:00.000Z');
    assert.equal(signInNonceEnd(keys, OTHER, nonce), undefined);
    for (let at = 0; at < nonce.length; at++) {
      const changed = nonce[at] === '0' ? '1' : '0';
      const forged = nonce.slice(0, at) + changed + nonce.slice(at + 1);
      assert.equal(signInNonceEnd(keys, ADDRESS, forged), undefined, String(at));
    }
    for (const none of ['', '0', nonce.slice(1), `${nonce}0`, nonce.toUpperCase(), 'f'.repeat(72)])
      assert.equal(signInNonceEnd(keys, ADDRESS, none), undefined, none);
  });

  it('is known by all who have the ring, and by who has rotated it since', async () => {
    const [old, current] = [await generateX25519Key(), await generateX25519Key()];
    const nonce = drawSignInNonce(signInNonceKeys([old]), ADDRESS, ENDS_AT);
    assert.ok(signInNonceEnd(signInNonceKeys([old]), ADDRESS, nonce));
    assert.ok(signInNonceEnd(signInNonceKeys([current, old]), ADDRESS, nonce));
    assert.equal(signInNonceEnd(signInNonceKeys([current]), ADDRESS, nonce), undefined);
  });
});

import assert from 'node:assert/strict';
import { createHmac, createSecretKey, randomBytes } from 'node:crypto';
import { answersChallenge, challengeOf } from '../../crypto/heartbeat.ts';
import { formatNodeId, idBytes } from '../../protocol/ids.ts';

describe('crypto/heartbeat', () => {
  const bytes: Buffer = randomBytes(32);
  const secret = createSecretKey(bytes);
  const [nodeId, other] = [formatNodeId(randomBytes(32)), formatNodeId(randomBytes(32))];

  it('is the HMAC that its description says', () => {
    const message = Buffer.concat([
      Buffer.from('heartbeat.v2'),
      idBytes(nodeId),
      Buffer.from([0, 0, 1, 2]),
    ]);
    const digest = createHmac('sha256', bytes).update(message).digest();
    const nonce = digest.subarray(0, 16).toString('base64url');
    assert.deepEqual(challengeOf(secret, nodeId, 258), { sequence: 258, nonce });
  });

  it('is answered by the nonce of that node and number only', () => {
    const { nonce } = challengeOf(secret, nodeId, 5);
    assert.ok(answersChallenge(secret, nodeId, { sequence: 5, nonce }));
    assert.ok(!answersChallenge(secret, nodeId, { sequence: 6, nonce }));
    assert.ok(!answersChallenge(secret, other, { sequence: 5, nonce }));
    for (const wrong of ['', nonce.slice(1), `${nonce}A`, nonce.toLowerCase()])
      assert.ok(!answersChallenge(secret, nodeId, { sequence: 5, nonce: wrong }), wrong);
    const another = createSecretKey(randomBytes(32));
    assert.ok(!answersChallenge(another, nodeId, { sequence: 5, nonce }));
  });
});

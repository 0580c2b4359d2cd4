import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import * as fc from 'fast-check';
import { signProof, verifyProof } from '../../crypto/prove.ts';
import { nodeIdOf } from '../../crypto/keys.ts';
import { proofOfExecution } from '../../protocol/prove.ts';
import vectors from '../../protocol/vectors/poe.v1.json' with { type: 'json' };
import { context, flipped, signingPrivateKey, signingPublicKey } from './fixtures.ts';

describe('crypto/prove', () => {
  for (const vector of vectors.cases)
    it(`makes and verifies the signature of the vector: ${vector.name}`, async () => {
      const result = Buffer.from(vector.resultHex, 'hex');
      assert.equal(await signProof(signingPrivateKey, result, vector.poe), vector.signature);
      const key = Buffer.from(vectors.signingPublicKeySpkiDerHex, 'hex');
      const publicKey = createPublicKey({ key, format: 'der', type: 'spki' });
      assert.equal(nodeIdOf(key), vectors.nodeId);
      assert.ok(verifyProof(publicKey, result, vector.poe, vector.signature));
    });

  it('refuses another result, PoE, signature or key', async () => {
    const other = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 200 });
    await fc.assert(
      fc.asyncProperty(bytes, fc.nat(), async (result, at) => {
        const poe = proofOfExecution(context.unitId, result, context.nodeId);
        const signature = await signProof(signingPrivateKey, result, poe);
        const verify = (...args: [Uint8Array, unknown, unknown]) =>
          verifyProof(signingPublicKey, ...args);
        assert.ok(verify(result, poe, signature));
        const index = at % result.length;
        assert.ok(!verify(result.with(index, (result[index] ?? 0) ^ 1), poe, signature));
        const otherPoe = proofOfExecution(context.unitId, Buffer.of(1, ...result), context.nodeId);
        assert.ok(!verify(result, otherPoe, signature));
        assert.ok(!verify(result, poe, flipped(signature, at)));
        assert.ok(!verifyProof(other.publicKey, result, poe, signature));
      }),
      { numRuns: 20 },
    );
  });

  it('takes anything a node may send for a signature or a PoE', async () => {
    const result = Buffer.from('{}');
    const poe = proofOfExecution(context.unitId, result, context.nodeId);
    const signature = await signProof(signingPrivateKey, result, poe);
    const wrong = [
      '',
      'AA',
      `${signature}=`,
      `${signature}\n`,
      ` ${signature}`,
      `${signature}AAAA`,
    ];
    for (const value of [...wrong, undefined, null, 7, {}, [signature]])
      assert.equal(verifyProof(signingPublicKey, result, poe, value), false);
    for (const value of ['', poe.toUpperCase(), poe.slice(2), undefined, [poe]])
      assert.equal(verifyProof(signingPublicKey, result, value, signature), false);
  });
});

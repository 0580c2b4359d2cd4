import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import * as fc from 'fast-check';
import { generalDecrypt } from 'jose';
import { generateX25519Key } from '../../crypto/keys.ts';
import { openReturn, sealReturn } from '../../crypto/return.ts';
import type { ReturnEnvelope } from '../../protocol/envelope.ts';
import { formatNodeId, formatRequestId, formatSubTaskId } from '../../protocol/ids.ts';
import { RESULT_BYTES_MAX } from '../../protocol/result.ts';
import vector from '../../protocol/vectors/return-envelope.json' with { type: 'json' };
import { context, failsAs, flipped, requesterKey, returnKey } from './fixtures.ts';

const keys = { requesterKey: requesterKey.publicJwk, returnKey: returnKey.publicJwk };
const resultBytes = Buffer.from('{"text":"naïve 🙂"}');

function seal(): Promise<ReturnEnvelope> {
  return sealReturn({ resultBytes, ...context, ...keys });
}

describe('crypto/return', () => {
  it('opens the vector as either recipient, by jose and by this code', async () => {
    for (const jwk of [vector.requesterPrivateJwk, vector.returnPrivateJwk]) {
      const key = createPrivateKey({ key: jwk, format: 'jwk' });
      const { plaintext, protectedHeader } = await generalDecrypt(vector.sealed, key);
      assert.equal(Buffer.from(plaintext).toString(), vector.resultUtf8);
      const { unitId: unit, dispatch, nodeId: node } = context;
      assert.deepEqual(protectedHeader, { enc: 'A256GCM', unit, dispatch, node });
    }
    for (const key of [requesterKey, returnKey]) {
      const opened = await openReturn(vector.sealed, [key]);
      assert.equal(Buffer.from(opened.resultBytes).toString(), vector.resultUtf8);
    }
    assert.deepEqual([requesterKey.kid, returnKey.kid], [vector.requesterKid, vector.returnKid]);
  });

  it('gives back any result with its unit, attempt and node, to either recipient', async () => {
    const raw = fc.uint8Array({ minLength: 32, maxLength: 32 });
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 2000 });
    const unit = fc.tuple(fc.constantFrom(formatRequestId, formatSubTaskId), raw);
    const dispatches = fc.integer({ min: 1, max: 0xffff_ffff });
    await fc.assert(
      fc.asyncProperty(
        bytes,
        unit,
        dispatches,
        raw,
        async (bytes, [format, id], dispatch, node) => {
          const sent = { unitId: format(id), dispatch, nodeId: formatNodeId(node) };
          const jwe = await sealReturn({ resultBytes: bytes, ...sent, ...keys });
          const received: unknown = JSON.parse(JSON.stringify(jwe));
          for (const key of [requesterKey, returnKey]) {
            const { resultBytes, ...opened } = await openReturn(received, [key]);
            assert.deepEqual(opened, sent);
            assert.deepEqual(Buffer.from(resultBytes), Buffer.from(bytes));
          }
        },
      ),
      { numRuns: 10 },
    );
  });

  it('fails on any altered bit', async () => {
    const sealed = await seal();
    const members = fc.constantFrom('iv', 'ciphertext', 'tag', 'encrypted_key');
    await fc.assert(
      fc.asyncProperty(members, fc.nat(), async (member, at) => {
        const altered =
          member === 'encrypted_key'
            ? {
                ...sealed,
                recipients: sealed.recipients.map((recipient) => ({
                  ...recipient,
                  encrypted_key: flipped(recipient.encrypted_key, at),
                })),
              }
            : { ...sealed, [member]: flipped(sealed[member], at) };
        await assert.rejects(openReturn(altered, [returnKey]), failsAs('envelope.undecryptable'));
      }),
      { numRuns: 40 },
    );
  });

  it('authenticates unit, attempt and node', async () => {
    const sealed = await seal();
    const { unitId, dispatch, nodeId } = context;
    const header = { enc: 'A256GCM', unit: unitId, dispatch, node: nodeId };
    const relabelled = (change: object) => ({
      ...sealed,
      protected: Buffer.from(JSON.stringify({ ...header, ...change })).toString('base64url'),
    });
    assert.ok(await openReturn(relabelled({}), [returnKey]));
    const zeros = new Uint8Array(32);
    for (const change of [
      { unit: formatRequestId(zeros) },
      { dispatch: dispatch + 1 },
      { node: formatNodeId(zeros) },
    ])
      await assert.rejects(
        openReturn(relabelled(change), [returnKey]),
        failsAs('envelope.undecryptable'),
      );
    for (const change of [
      { enc: 'A128GCM' },
      { zip: 'DEF' },
      { alg: 'dir' },
      { dispatch: 0 },
      { dispatch: 1.5 },
      { unit: 'req_1' },
      { node: unitId },
      { seq: 0 },
    ])
      await assert.rejects(
        openReturn(relabelled(change), [returnKey]),
        failsAs('envelope.malformed'),
      );
  });

  it('knows no other recipient, also not one that takes the place or name of another', async () => {
    const [sealed, stranger] = [await seal(), await generateX25519Key()];
    await assert.rejects(openReturn(sealed, [stranger]), failsAs('envelope.unknown_key'));
    const impostor = { ...stranger, kid: returnKey.kid };
    await assert.rejects(openReturn(sealed, [impostor]), failsAs('envelope.undecryptable'));
    assert.ok(await openReturn(sealed, [stranger, returnKey]));
  });

  it('refuses hostile structures and sizes', async () => {
    const sealed = await seal();
    const [first, second] = sealed.recipients;
    const hostile: unknown[] = [
      undefined,
      'text',
      { ...sealed, recipients: [first] },
      { ...sealed, recipients: [first, second, first] },
      { ...sealed, aad: 'AAAA' },
      { ...sealed, protected: 'e30' },
      { ...sealed, protected: Buffer.from('not json').toString('base64url') },
      { ...sealed, protected: 'A'.repeat(5000) },
      { ...sealed, unprotected: {} },
    ];
    for (const jwe of hostile)
      await assert.rejects(openReturn(jwe, [returnKey]), failsAs('envelope.malformed'));
    const large = { ...sealed, ciphertext: 'A'.repeat(3_000_000) };
    await assert.rejects(openReturn(large, [returnKey]), failsAs('envelope.oversize'));
    const tooLarge = Buffer.alloc(RESULT_BYTES_MAX + 3);
    await assert.rejects(
      sealReturn({ resultBytes: tooLarge, ...context, ...keys }),
      failsAs('envelope.oversize'),
    );
  });
});

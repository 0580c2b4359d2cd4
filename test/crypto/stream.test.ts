import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import * as fc from 'fast-check';
import { CompactEncrypt, compactDecrypt, generalDecrypt, GeneralEncrypt } from 'jose';
import { EnvelopeError } from '../../crypto/errors.ts';
import { generateX25519Key } from '../../crypto/keys.ts';
import { sealToBoth } from '../../crypto/return.ts';
import {
  createStreamOpener,
  createStreamSealer,
  STREAM_FRAME_CHARACTERS_MAX,
  type OpenedFrame,
} from '../../crypto/stream.ts';
import { formatNodeId, formatRequestId } from '../../protocol/ids.ts';
import vector from '../../protocol/vectors/return-envelope.json' with { type: 'json' };
import { context, failsAs, requesterKey, returnKey } from './fixtures.ts';

const keys = { requesterKey: requesterKey.publicJwk, returnKey: returnKey.publicJwk };

async function sealAll(deltas: readonly string[]): Promise<string[]> {
  const sealer = await createStreamSealer({ ...context, ...keys });
  return [sealer.keyFrame, ...deltas.map((delta) => sealer.delta(delta)), sealer.end()];
}

function opened(deltas: readonly string[]): OpenedFrame[] {
  const middle = deltas.map((delta) => ({ kind: 'delta' as const, delta }));
  return [{ kind: 'key' }, ...middle, { kind: 'end' }];
}

async function streamKeyOf(keyFrame: string): Promise<Uint8Array> {
  return (await generalDecrypt(JSON.parse(keyFrame), returnKey.privateKey)).plaintext;
}

describe('crypto/stream', () => {
  it('opens the vector as either recipient', () => {
    for (const key of [requesterKey, returnKey]) {
      const opener = createStreamOpener([key], context);
      const frames = vector.frames.map((frame) => opener.open(frame));
      assert.deepEqual(frames, opened(vector.deltas));
    }
  });

  it('is plain JOSE: jose opens the frames', async () => {
    const [keyFrame = '', ...frames] = vector.frames;
    const privateKey = createPrivateKey({ key: vector.returnPrivateJwk, format: 'jwk' });
    const { plaintext: key, protectedHeader } = await generalDecrypt(
      JSON.parse(keyFrame),
      privateKey,
    );
    const { unitId: unit, dispatch, nodeId: node } = context;
    assert.deepEqual(protectedHeader, { enc: 'A256GCM', unit, dispatch, node, seq: 0 });
    const bodies = [...vector.deltas.map((delta) => ({ delta })), { end: true, frames: 3 }];
    for (const [index, frame] of frames.entries()) {
      const { plaintext, protectedHeader } = await compactDecrypt(frame, key);
      assert.deepEqual(JSON.parse(Buffer.from(plaintext).toString()), bodies[index]);
      assert.deepEqual(protectedHeader, { alg: 'dir', enc: 'A256GCM', seq: index + 1 });
    }
  });

  it('is plain JOSE: it opens frames that jose seals', async () => {
    const key = Buffer.alloc(32, 9);
    const { unitId: unit, dispatch, nodeId: node } = context;
    const keyFrame = await new GeneralEncrypt(key)
      .setProtectedHeader({ enc: 'A256GCM', unit, dispatch, node, seq: 0 })
      .addRecipient({ ...keys.requesterKey })
      .setUnprotectedHeader({ alg: 'ECDH-ES+A256KW', kid: requesterKey.kid })
      .addRecipient({ ...keys.returnKey })
      .setUnprotectedHeader({ alg: 'ECDH-ES+A256KW', kid: returnKey.kid })
      .encrypt();
    const seal = (body: object, seq: number) =>
      new CompactEncrypt(Buffer.from(JSON.stringify(body)))
        .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', seq })
        .encrypt(key);
    const opener = createStreamOpener([returnKey], context);
    assert.deepEqual(
      [
        opener.open(JSON.stringify(keyFrame)),
        opener.open(await seal({ delta: 'ä' }, 1)),
        opener.open(await seal({ end: true, frames: 1 }, 2)),
      ],
      opened(['ä']),
    );
  });

  it('gives back any texts', async () => {
    const texts = fc.array(fc.string({ unit: 'binary', maxLength: 40 }), { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(texts, async (deltas) => {
        const opener = createStreamOpener([returnKey], context);
        const frames = (await sealAll(deltas)).map((frame) => opener.open(frame));
        assert.deepEqual(frames, opened(deltas));
      }),
      { numRuns: 15 },
    );
  });

  it('refuses gaps, repeats and other orders, and goes on with the right frame', async () => {
    const frames = await sealAll(['a', 'b', 'c']);
    fc.assert(
      fc.property(fc.array(fc.nat(frames.length - 1), { maxLength: 12 }), (order) => {
        const opener = createStreamOpener([returnKey], context);
        let next = 0;
        for (const index of order) {
          const frame = frames[index] ?? '';
          if (index === next) {
            assert.ok(opener.open(frame));
            next += 1;
            continue;
          }
          // Before the key there is nothing to tell an order by; a second key frame is no frame.
          const structural = next === 0 || (index === 0 && next < frames.length);
          const code = structural ? 'envelope.malformed' : 'stream.out_of_order';
          assert.throws(() => opener.open(frame), failsAs(code));
        }
      }),
    );
  });

  it('notices a cut: the end names the number of frames', async () => {
    const [keyFrame = ''] = await sealAll([]);
    const key = await streamKeyOf(keyFrame);
    const end = await new CompactEncrypt(Buffer.from('{"end":true,"frames":3}'))
      .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', seq: 1 })
      .encrypt(key);
    const opener = createStreamOpener([returnKey], context);
    opener.open(keyFrame);
    assert.throws(() => opener.open(end), failsAs('stream.out_of_order'));
  });

  it('refuses a stream key of another length', async () => {
    const { unitId: unit, dispatch, nodeId: node } = context;
    const header = { enc: 'A256GCM', unit, dispatch, node, seq: 0 };
    for (const length of [16, 31, 33]) {
      const keyFrame = JSON.stringify(await sealToBoth(Buffer.alloc(length), header, keys));
      const opener = createStreamOpener([returnKey], context);
      assert.throws(() => opener.open(keyFrame), failsAs('envelope.undecryptable'));
    }
  });

  it('takes nothing behind the end, however genuine', async () => {
    const [keyFrame = '', end = ''] = await sealAll([]);
    const late = await new CompactEncrypt(Buffer.from('{"delta":"late"}'))
      .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', seq: 2 })
      .encrypt(await streamKeyOf(keyFrame));
    const opener = createStreamOpener([returnKey], context);
    assert.deepEqual([opener.open(keyFrame), opener.open(end)], opened([]));
    assert.throws(() => opener.open(late), failsAs('stream.out_of_order'));
  });

  it('refuses streams of another unit, attempt, node or recipient', async () => {
    const [keyFrame = ''] = await sealAll([]);
    const zeros = new Uint8Array(32);
    for (const change of [
      { unitId: formatRequestId(zeros) },
      { dispatch: context.dispatch + 1 },
      { nodeId: formatNodeId(zeros) },
    ])
      assert.throws(
        () => createStreamOpener([returnKey], { ...context, ...change }).open(keyFrame),
        failsAs('envelope.wrong_context'),
      );
    const stranger = await generateX25519Key();
    assert.throws(
      () => createStreamOpener([stranger], context).open(keyFrame),
      failsAs('envelope.unknown_key'),
    );
    const [, foreign = ''] = await sealAll(['from another stream']);
    const opener = createStreamOpener([returnKey], context);
    opener.open(keyFrame);
    assert.throws(() => opener.open(foreign), failsAs('envelope.undecryptable'));
  });

  it('fails on any other character of a frame', async () => {
    // Lengths of which the last base64url character has 0, 2 and 4 spare bits.
    const frames = await sealAll(['some text', 'some text.', 'some text..']);
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.= '.split(
      '',
    );
    for (const [index, frame] of frames.entries()) {
      if (index === 0) continue;
      const opener = createStreamOpener([returnKey], context);
      for (const earlier of frames.slice(0, index)) opener.open(earlier);
      const refuses = (at: number, character: string) => {
        if (frame[at] === character) return;
        const altered = frame.slice(0, at) + character + frame.slice(at + 1);
        assert.throws(() => opener.open(altered), EnvelopeError, altered);
      };
      // All places with some characters, and the last place of each part with all of them.
      fc.assert(fc.property(fc.nat(frame.length - 1), fc.constantFrom(...alphabet), refuses));
      for (const { index: dot } of `${frame}.`.matchAll(/\./g))
        for (const character of alphabet) refuses(dot - 1, character);
      assert.ok(opener.open(frame));
    }
  });

  it('refuses hostile frames', async () => {
    const [keyFrame = ''] = await sealAll([]);
    const key = await streamKeyOf(keyFrame);
    const opener = createStreamOpener([returnKey], context);
    opener.open(keyFrame);
    const seal = (body: string, header: object = {}) =>
      new CompactEncrypt(Buffer.from(body))
        .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', seq: 1, ...header })
        .encrypt(key);
    const hostile = [
      '',
      'a.b.c.d.e',
      '....',
      await seal('not json'),
      await seal('{}'),
      await seal('{"delta":7}'),
      await seal('{"delta":"\\ud800"}'),
      await seal('{"delta":"a","extra":1}'),
      await seal('{"end":true}'),
      await seal('{"delta":"a"}', { unit: context.unitId }),
      await seal('{"delta":"a"}', { seq: '1' }),
      await seal('{"delta":"a"}', { seq: 1.5 }),
    ];
    for (const frame of hostile)
      assert.throws(() => opener.open(frame), failsAs('envelope.malformed'), frame);
    const long = 'A'.repeat(STREAM_FRAME_CHARACTERS_MAX + 1);
    assert.throws(() => opener.open(long), failsAs('envelope.oversize'));
    assert.ok(opener.open(await seal('{"delta":"a"}')));
  });

  it('lets a node neither send half a character, nor too much, nor behind its end', async () => {
    const sealer = await createStreamSealer({ ...context, ...keys });
    const opener = createStreamOpener([returnKey], context);
    opener.open(sealer.keyFrame);
    assert.throws(() => sealer.delta('\ud83d'), failsAs('envelope.malformed'));
    const long = 'x'.repeat(STREAM_FRAME_CHARACTERS_MAX);
    assert.throws(() => sealer.delta(long), failsAs('envelope.oversize'));
    // Neither of the two used up a number.
    assert.deepEqual(opener.open(sealer.delta('a')), { kind: 'delta', delta: 'a' });
    assert.deepEqual(opener.open(sealer.end()), { kind: 'end' });
    assert.throws(() => sealer.delta('b'), failsAs('stream.out_of_order'));
    assert.throws(() => sealer.end(), failsAs('stream.out_of_order'));
  });
});

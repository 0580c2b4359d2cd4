import assert from 'node:assert/strict';
import { createHash, createPrivateKey, randomBytes } from 'node:crypto';
import canonicalize from 'canonicalize';
import * as fc from 'fast-check';
import { compactDecrypt, generalDecrypt, GeneralEncrypt, type GeneralJWE } from 'jose';
import { dispatchContentKey } from '../../crypto/dispatch.ts';
import { generateWrapKey, generateX25519Key } from '../../crypto/keys.ts';
import {
  assertBound,
  openRequest,
  requestDigest,
  rewrapRequest,
  sealRequest,
} from '../../crypto/request.ts';
import {
  REQUEST_PROTECTED,
  withNodeRecipient,
  wrapRecipient,
  type DispatchEnvelope,
  type SealedRequest,
} from '../../protocol/envelope.ts';
import type { RequestParameters } from '../../protocol/receive.ts';
import vector from '../../protocol/vectors/request-envelope.json' with { type: 'json' };
import {
  context,
  encryptionPrivateKey,
  encryptionPublicKey,
  failsAs,
  flipped,
  intakeKey,
  parameters,
  requesterKey,
  signingPrivateKey,
  wrapKey,
} from './fixtures.ts';

const requester = requesterKey.publicJwk;
const plaintext = Buffer.from(vector.plaintextUtf8);

function seal(payload: Uint8Array = plaintext): Promise<SealedRequest> {
  const key = intakeKey.publicJwk;
  return sealRequest({ plaintext: payload, parameters, requesterKey: requester, intakeKey: key });
}

function dispatch(sealed: SealedRequest): DispatchEnvelope {
  const wrapped = rewrapRequest(sealed, [intakeKey], [wrapKey]);
  const encryptedKey = dispatchContentKey(wrapRecipient(wrapped), [wrapKey], encryptionPublicKey);
  return withNodeRecipient(wrapped, encryptedKey, context.nodeId);
}

function open(jwe: unknown): Promise<Uint8Array> {
  return openRequest(jwe, parameters, requester, encryptionPrivateKey);
}

describe('crypto/request', () => {
  it('opens the vector at each stage of its life, by jose and by this code', async () => {
    assert.deepEqual(vector.parameters, parameters);
    const bound = canonicalize({ parameters, requesterKey: vector.requesterPublicJwk });
    const digest = createHash('sha256')
      .update(bound ?? '')
      .digest('base64url');
    assert.equal(digest, vector.requestDigest);
    assert.equal(requestDigest(parameters, requester).toString('base64url'), digest);
    const stages: [GeneralJWE, Parameters<typeof generalDecrypt>[1]][] = [
      [vector.sealed, createPrivateKey({ key: vector.intakePrivateJwk, format: 'jwk' })],
      [vector.wrapped, Buffer.from(vector.wrapKey.key, 'base64url')],
      [vector.dispatched, createPrivateKey(vector.nodeEncryptionPrivateKeyPem)],
    ];
    for (const [jwe, key] of stages) {
      const opened = await generalDecrypt(jwe, key);
      assert.equal(Buffer.from(opened.plaintext).toString(), vector.plaintextUtf8);
      assert.equal(
        Buffer.from(opened.additionalAuthenticatedData ?? []).toString('base64url'),
        vector.requestDigest,
      );
    }
    assert.deepEqual(rewrapRequest(vector.sealed, [intakeKey], [wrapKey]), vector.wrapped);
    assert.equal(Buffer.from(await open(vector.dispatched)).toString(), vector.plaintextUtf8);
    const ticket = await compactDecrypt(vector.sealedTicket, encryptionPrivateKey);
    assert.deepEqual(JSON.parse(Buffer.from(ticket.plaintext).toString()), vector.ticket);
  });

  it('seals with exactly the header of the protocol and one recipient', async () => {
    const sealed = await seal();
    assert.equal(sealed.protected, REQUEST_PROTECTED);
    assert.equal(Buffer.from(REQUEST_PROTECTED, 'base64url').toString(), '{"enc":"A256GCM"}');
    assert.equal(sealed.recipients.length, 1);
    assert.deepEqual(Object.keys(sealed.recipients[0]?.header ?? {}).toSorted(), [
      'alg',
      'epk',
      'kid',
    ]);
  });

  it('carries any payload from requester to node, the ciphertext unchanged', async () => {
    const payload = fc.uint8Array({ minLength: 1, maxLength: 3000 });
    await fc.assert(
      fc.asyncProperty(payload, async (bytes) => {
        const sealed = await seal(bytes);
        const wrapped = rewrapRequest(JSON.parse(JSON.stringify(sealed)), [intakeKey], [wrapKey]);
        const dispatched = dispatch(sealed);
        for (const later of [wrapped, dispatched])
          for (const member of ['protected', 'aad', 'iv', 'ciphertext', 'tag'] as const)
            assert.equal(later[member], sealed[member]);
        assert.ok(!JSON.stringify(wrapped).includes('epk'));
        assert.deepEqual(Buffer.from(await open(dispatched)), Buffer.from(bytes));
      }),
      { numRuns: 15 },
    );
  });

  it('fails on any altered bit of what a node receives', async () => {
    const dispatched = dispatch(await seal());
    const members = fc.constantFrom('iv', 'ciphertext', 'tag', 'encrypted_key');
    await fc.assert(
      fc.asyncProperty(members, fc.nat(), async (member, at) => {
        const [recipient] = dispatched.recipients;
        assert.ok(recipient);
        const altered =
          member === 'encrypted_key'
            ? {
                ...dispatched,
                recipients: [{ ...recipient, encrypted_key: flipped(recipient.encrypted_key, at) }],
              }
            : { ...dispatched, [member]: flipped(dispatched[member], at) };
        await assert.rejects(open(altered), failsAs('envelope.undecryptable'));
      }),
      { numRuns: 40 },
    );
  });

  it('fails on any altered bit of a wrapped content key', async () => {
    const sealed = await seal();
    const wrapped = rewrapRequest(sealed, [intakeKey], [wrapKey]);
    const alter = <R extends { encrypted_key: string }>([recipient]: readonly R[], at: number) => {
      assert.ok(recipient);
      return [{ ...recipient, encrypted_key: flipped(recipient.encrypted_key, at) }];
    };
    fc.assert(
      fc.property(fc.nat(), (at) => {
        const one = { ...sealed, recipients: alter(sealed.recipients, at) };
        assert.throws(
          () => rewrapRequest(one, [intakeKey], [wrapKey]),
          failsAs('envelope.undecryptable'),
        );
        const other = { ...wrapped, recipients: alter(wrapped.recipients, at) };
        assert.throws(
          () => dispatchContentKey(wrapRecipient(other), [wrapKey], encryptionPublicKey),
          failsAs('envelope.undecryptable'),
        );
      }),
      { numRuns: 40 },
    );
  });

  it('binds the payload to every clear parameter and to the requester key', async () => {
    const dispatched = dispatch(await seal());
    const changes: Partial<RequestParameters>[] = [
      { model: 'other' },
      { hardwareTier: 2 },
      { priority: 'urgent' },
      { deadlineSeconds: 121 },
      { maxTokens: 65 },
      { stream: false },
      { seed: 1 },
    ];
    for (const change of changes) {
      const changed = { ...parameters, ...change };
      await assert.rejects(
        openRequest(dispatched, changed, requester, encryptionPrivateKey),
        failsAs('dispatch.parameters_mismatch'),
      );
      // Whoever also replaces the digest meets the authentication.
      const aad = requestDigest(changed, requester).toString('base64url');
      await assert.rejects(
        openRequest({ ...dispatched, aad }, changed, requester, encryptionPrivateKey),
        failsAs('envelope.undecryptable'),
      );
    }
    const other = (await generateX25519Key()).publicJwk;
    await assert.rejects(
      openRequest(dispatched, parameters, other, encryptionPrivateKey),
      failsAs('dispatch.parameters_mismatch'),
    );
    assert.throws(
      () => assertBound(dispatched, parameters, other),
      failsAs('dispatch.parameters_mismatch'),
    );
    assertBound(dispatched, parameters, requester);
  });

  it('opens with older keys of a ring, and names an unknown one', async () => {
    const [newer, sealed] = [await generateX25519Key(), await seal()];
    const newerWrap = generateWrapKey();
    const wrapped = rewrapRequest(sealed, [newer, intakeKey], [wrapKey]);
    assert.ok(
      dispatchContentKey(wrapRecipient(wrapped), [newerWrap, wrapKey], encryptionPublicKey),
    );
    assert.throws(() => rewrapRequest(sealed, [newer], [wrapKey]), failsAs('envelope.unknown_key'));
    assert.throws(
      () => dispatchContentKey(wrapRecipient(wrapped), [newerWrap], encryptionPublicKey),
      failsAs('envelope.unknown_key'),
    );
    // Another key under the right name.
    const impostor = { ...newer, kid: intakeKey.kid };
    assert.throws(
      () => rewrapRequest(sealed, [impostor], [wrapKey]),
      failsAs('envelope.undecryptable'),
    );
  });

  it('never shows a node a request of another, nor a request that skipped Dispatch', async () => {
    const dispatched = dispatch(await seal());
    await assert.rejects(
      openRequest(dispatched, parameters, requester, signingPrivateKey),
      failsAs('envelope.undecryptable'),
    );
    await assert.rejects(open(await seal()), failsAs('envelope.malformed'));
  });

  it('accepts what a plain JOSE library seals with a fresh ephemeral key', async () => {
    const jwe = await new GeneralEncrypt(plaintext)
      .setProtectedHeader({ enc: 'A256GCM' })
      .setAdditionalAuthenticatedData(requestDigest(parameters, requester))
      .addRecipient({ ...intakeKey.publicJwk })
      .setUnprotectedHeader({ alg: 'ECDH-ES+A256KW', kid: intakeKey.kid })
      .addRecipient(randomBytes(32))
      .setUnprotectedHeader({ alg: 'A256KW' })
      .encrypt();
    const sealed = { ...jwe, recipients: jwe.recipients.slice(0, 1) };
    assert.ok(rewrapRequest(sealed, [intakeKey], [wrapKey]));
  });
});

import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import { dispatch as seal } from '../../activities/dispatch.ts';
import { checkReturn, type CheckInput } from '../../activities/validate.ts';
import { instantBackend } from '../../bench/instant-backend.ts';
import { exportSpki, generateNodeKeys } from '../../crypto/keys.ts';
import { rewrapRequest, sealRequest } from '../../crypto/request.ts';
import { openReturn, sealReturn } from '../../crypto/return.ts';
import { Attempts } from '../../nodes/attempts.ts';
import { execute } from '../../nodes/execute.ts';
import { canonicalBytes } from '../../protocol/canonical.ts';
import { withNodeRecipient, wrapRecipient } from '../../protocol/envelope.ts';
import { CodedError } from '../../protocol/errors.ts';
import type { NodeReturn } from '../../protocol/execute.ts';
import {
  context,
  intakeKey,
  parameters as defaults,
  requesterKey as requester,
  returnKey,
  wrapKey,
} from '../crypto/fixtures.ts';

const DISPATCH = 2;
const parameters = { ...defaults, stream: false };
const requesterKey = requester.publicJwk;
const { unitId } = context;

describe('activities/validate: the attempt that a return names', () => {
  let input: Omit<CheckInput, 'returned'>;
  let honest: NodeReturn;
  before(async () => {
    const keys = await generateNodeKeys();
    const payload = { messages: [{ role: 'user', content: 'one two' }], temperature: 0, topP: 1 };
    const plaintext = canonicalBytes({ ...payload, stop: [] });
    const sealing = { plaintext, parameters, requesterKey, intakeKey: intakeKey.publicJwk };
    const wrapped = rewrapRequest(await sealRequest(sealing), [intakeKey], [wrapKey]);
    const node = {
      nodeId: keys.nodeId,
      operatorId: 'op',
      encryptionKey: exportSpki(keys.encryption.publicKey).toString('base64'),
      signingKey: exportSpki(keys.signing.publicKey).toString('base64'),
    };
    const attempt = { unitId, dispatch: DISPATCH, node };
    const sealed = await seal(
      { wrapRing: [wrapKey], channelSecret: createSecretKey(randomBytes(32)) },
      { ...attempt, request: { parameters, seed: 7, wrappedKey: wrapRecipient(wrapped) } },
    );
    const { attemptNumber, encryptedKey, kid, ticket } = sealed;
    const backend = instantBackend();
    honest = await execute(
      {
        keys,
        backend,
        returnKey: () => returnKey.publicJwk,
        attempts: new Attempts(),
        openStream: () => assert.fail('nobody listens'),
      },
      { envelope: withNodeRecipient(wrapped, encryptedKey, kid), ticket, parameters, requesterKey },
      {
        cancelled: new AbortController().signal,
        isCancelRequested: () => false,
        heartbeat: () => {},
      },
    );
    const modelDigest = backend.model.digest;
    const request = { parameters, modelDigest, seed: 7, payloadBytes: plaintext.length };
    input = { ...attempt, attemptNumber, request };
  });

  const check = (returned: NodeReturn, changed: Pick<CheckInput, 'attemptNumber'> = input) =>
    checkReturn(
      { returnRing: [returnKey], relayed: () => null },
      { ...input, ...changed, returned },
    );
  const malformed = (error: unknown) =>
    error instanceof CodedError && error.code === 'poe.malformed';

  /** The same result, sealed as that of another attempt. */
  async function naming(dispatch: number): Promise<NodeReturn> {
    const opened = await openReturn(honest.sealedResult, [returnKey]);
    const keys = { requesterKey, returnKey: returnKey.publicJwk };
    return { ...honest, sealedResult: await sealReturn({ ...opened, ...keys, dispatch }) };
  }

  it('is the one that its node was told, and no other', async () => {
    assert.equal((await check(honest)).result.choices[0]?.text, 'one two');
    const told = input.attemptNumber ?? assert.fail();
    assert.notEqual(told, DISPATCH);
    for (const dispatch of [1, DISPATCH, told - 1])
      await assert.rejects(check(await naming(dispatch)), malformed);
  });

  it('is the dispatch number itself in a run that told it, before an upgrade', async () => {
    const earlier = (returned: NodeReturn) => check(returned, { attemptNumber: undefined });
    assert.equal((await earlier(await naming(DISPATCH))).result.choices[0]?.text, 'one two');
    await assert.rejects(earlier(await naming(1)), malformed);
    await assert.rejects(earlier(honest), malformed);
  });
});

import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import { dispatch as seal } from '../../activities/dispatch.ts';
import { Sampling } from '../../activities/sampling.ts';
import { checkReturn, validate, type CheckInput } from '../../activities/validate.ts';
import { instantBackend } from '../../bench/instant-backend.ts';
import { exportSpki, generateNodeKeys, generateWrapKey } from '../../crypto/keys.ts';
import { rewrapRequest, sealRequest } from '../../crypto/request.ts';
import { openReturn, sealReturn } from '../../crypto/return.ts';
import { Attempts } from '../../nodes/attempts.ts';
import { execute } from '../../nodes/execute.ts';
import { canonicalBytes } from '../../protocol/canonical.ts';
import { withNodeRecipient, wrapRecipient } from '../../protocol/envelope.ts';
import { CodedError } from '../../protocol/errors.ts';
import type { NodeReturn } from '../../protocol/execute.ts';
import { samplingPolicy } from '../../protocol/sampling.ts';
import {
  context,
  intakeKey,
  parameters as defaults,
  requesterKey as requester,
  returnKey,
  wrapKey,
} from '../crypto/fixtures.ts';
import { addPoolNode } from '../support/pool.ts';
import { seedInstant } from '../support/seeded.ts';
import { freshDatabase } from '../support/servers.ts';

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

  it('of an engine that its node came back with meanwhile is lost, and no bad proof', async () => {
    const db = await freshDatabase();
    try {
      const { database } = db;
      await seedInstant(database);
      const { nodeId } = input.node;
      const sampling = new Sampling({
        database,
        ring: [generateWrapKey()],
        policy: samplingPolicy(),
        epochSeconds: 600,
        onSecretLost: () => assert.fail('no secret is needed'),
      });
      const { price, reservedWei } = {
        price: { promptWei: '1', completionWei: '1' },
        reservedWei: '9',
      };
      const code = async () => {
        const result = await validate(
          { database, sampling, returnRing: [returnKey], relayed: () => null },
          {
            ...input,
            node: { ...input.node, engine: 'before/1' },
            returned: honest,
            request: { ...input.request, requesterKey, price, reservedWei },
          },
        );
        return result.kind === 'rejected' && result.code;
      };
      await addPoolNode(database, { id: nodeId, engine: 'before/1' });
      assert.equal(await code(), 'poe.result_invalid');
      await database.node.update({ where: { id: nodeId }, data: { engine: 'after/2' } });
      assert.equal(await code(), 'execute.node_lost');
    } finally {
      await db.close();
    }
  });
});

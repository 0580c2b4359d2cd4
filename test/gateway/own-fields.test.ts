import assert from 'node:assert/strict';
import { intakeCall, type Asker } from '../../gateway/intake-call.ts';
import { MalformedRequestError } from '../../gateway/errors.ts';
import { deliveryOf } from '../../gateway/inference-request.ts';
import { parseChatRequest } from '../../gateway/openai.ts';
import { onDisconnectOf } from '../../gateway/own-fields.ts';
import { generateX25519Key } from '../../crypto/keys.ts';
import { CodedError } from '../../protocol/errors.ts';

const BODY = { model: 'instant', messages: [{ role: 'user', content: 'alpha' }] };
const ADDRESS = '0x52908400098527886e0f7030069857d2e4169ee7';
const ASKER: Asker = {
  accountId: ADDRESS,
  keyId: 'key_1',
  route: '/v1/chat/completions',
  idempotencyKey: null,
};

describe('gateway/own-fields', () => {
  it('verification is what delivery was called, and only one of them is taken', () => {
    const asked = (fields: object) => deliveryOf(parseChatRequest({ ...BODY, ...fields }));
    assert.equal(asked({ verification: 'strict' }), 'strict');
    assert.equal(asked({ delivery: 'strict', verification: null }), 'strict');
    assert.equal(asked({ verification: 'early', stream: true }), 'early');
    for (const [fields, param] of [
      [{ verification: 'strict', delivery: 'strict' }, 'delivery'],
      [{ verification: 'early' }, 'verification'],
      [{ verification: 'later' }, 'verification'],
      [{ on_disconnect: 'stay' }, 'on_disconnect'],
    ] as const)
      assert.throws(
        () => asked(fields),
        (error: unknown) => error instanceof MalformedRequestError && error.param === param,
        JSON.stringify(fields),
      );
  });

  it('who hangs up is served no further, unless it may come again', () => {
    assert.equal(onDisconnectOf({}, null), 'cancel');
    assert.equal(onDisconnectOf({}, 'a-key'), 'continue');
    assert.equal(onDisconnectOf({ on_disconnect: 'continue' }, null), 'continue');
    assert.equal(onDisconnectOf({ on_disconnect: 'cancel' }, 'a-key'), 'cancel');
  });

  it("charges the key's own account, by any spelling of its address, and no other", async () => {
    const key = await generateX25519Key();
    const requester = { requesterRing: [key], intakeKey: async () => key.publicJwk } as const;
    const call = (credit: string | null) =>
      intakeCall(requester, ASKER, parseChatRequest({ ...BODY, credit_account: credit }));
    for (const credit of [null, ADDRESS, '0x52908400098527886E0F7030069857D2E4169EE7']) {
      const { accountId, keyId, bodyDigest } = await call(credit);
      assert.deepEqual([accountId, keyId, bodyDigest], [ADDRESS, 'key_1', undefined]);
    }
    await assert.rejects(
      call('0x0000000000000000000000000000000000000001'),
      (error: unknown) =>
        error instanceof CodedError && error.code === 'receive.credit_account_forbidden',
    );
  });
});

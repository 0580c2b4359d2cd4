import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { idempotencyKeyOf, joinedBy, type Repetition } from '../../gateway/idempotency.ts';
import { parseChatRequest } from '../../gateway/openai.ts';
import { CodedError } from '../../protocol/errors.ts';

const ASKED: Repetition = {
  accountId: 'acct_a',
  route: '/v1/chat/completions',
  idempotencyKey: 'order-17',
};
const BODY = { model: 'instant', messages: [{ role: 'user', content: 'alpha' }] };

function joined(body: object, changed: Partial<Repetition> = {}) {
  return joinedBy({ ...ASKED, ...changed }, parseChatRequest({ ...BODY, ...body }));
}

describe('gateway/idempotency', () => {
  it('takes 1 to 255 visible ASCII characters, and nothing else', () => {
    const visible = fc.string({
      unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)),
      minLength: 1,
      maxLength: 255,
    });
    fc.assert(fc.property(visible, (key) => idempotencyKeyOf({ 'idempotency-key': key }) === key));
    assert.equal(idempotencyKeyOf({}), null);
    for (const key of ['', ' ', 'a b', 'a, b', 'a\tb', 'clé', '\u007f', 'x'.repeat(256)])
      assert.throws(
        () => idempotencyKeyOf({ 'idempotency-key': key }),
        (error: unknown) =>
          error instanceof CodedError &&
          error.code === 'receive.malformed_request' &&
          'param' in error &&
          error.param === 'Idempotency-Key',
        JSON.stringify(key),
      );
  });

  it('is joined by the same account with the same key alone', () => {
    const first = joined({});
    assert.match(first.intakeKey, /^idem_[0-9a-f]{64}$/);
    assert.deepEqual(joined({}), first);
    assert.notEqual(joined({}, { accountId: 'acct_b' }).intakeKey, first.intakeKey);
    assert.notEqual(joined({}, { idempotencyKey: 'order-18' }).intakeKey, first.intakeKey);
    // What follows could be cut in another place.
    assert.notEqual(
      joined({}, { accountId: 'acct_', idempotencyKey: 'aorder-17' }).intakeKey,
      first.intakeKey,
    );
    const [one, other] = [0, 1].map(() => joined({}, { idempotencyKey: null }));
    assert.notEqual(one?.intakeKey, other?.intakeKey);
    assert.equal(one?.bodyDigest, undefined);
  });

  it('is another question by any field that could change the answer', () => {
    const first = joined({}).bodyDigest;
    const others = [
      { max_tokens: 7 },
      { temperature: 0.5 },
      { seed: 0 },
      { priority: 'urgent' },
      { hardware_tier: 2 },
      { verification: 'strict' },
      { messages: [{ role: 'user', content: 'beta' }] },
      { user: 'somebody' },
      { messages: [{ role: 'system', content: 'alpha' }] },
      { messages: [...BODY.messages, { role: 'assistant', content: 'gamma' }] },
    ].map((body) => joined(body).bodyDigest);
    const elsewhere = joined({}, { route: '/v1/requests' }).bodyDigest;
    const digests = [first, elsewhere, ...others];
    assert.equal(new Set(digests).size, digests.length);
    // The digest alone tells nobody whether it is of a guessed body.
    assert.notEqual(joined({}, { idempotencyKey: 'order-18' }).bodyDigest, first);
  });

  it('is the same question however the answer is listened to, and however it is written', () => {
    const first = joined({}).bodyDigest;
    for (const body of [
      { stream: true },
      { stream: true, stream_options: { include_usage: true } },
      { on_disconnect: 'cancel' },
      { temperature: null, deadline_seconds: 120, priority: 'standard' },
    ])
      assert.equal(joined(body).bodyDigest, first, JSON.stringify(body));
    const [parts, said] = [
      [{ type: 'text', text: 'alpha' }],
      { role: 'assistant', content: 'gamma' },
    ];
    assert.equal(joined({ messages: [{ role: 'user', content: parts }] }).bodyDigest, first);
    assert.equal(
      joined({ messages: [...BODY.messages, said] }).bodyDigest,
      joined({ messages: [...BODY.messages, { ...said, refusal: null }] }).bodyDigest,
    );
    assert.equal(
      joined({ delivery: 'strict' }).bodyDigest,
      joined({ verification: 'strict' }).bodyDigest,
    );
  });

  it('refuses text without a UTF-8 form', () => {
    const body = { messages: [{ role: 'user', content: '\ud800' }] };
    assert.throws(() => joined(body), /not valid Unicode/);
  });
});

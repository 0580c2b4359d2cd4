import assert from 'node:assert/strict';
import { createHmac, createSecretKey } from 'node:crypto';
import * as fc from 'fast-check';
import {
  attemptNumber,
  checkChannelToken,
  dispatchOf,
  makeChannelToken,
} from '../../crypto/channel.ts';
import { DISPATCH_BUDGET, DISPATCH_NUMBER_MAX } from '../../protocol/dispatch.ts';
import { formatNodeId, formatRequestId, formatSubTaskId } from '../../protocol/ids.ts';
import vector from '../../protocol/vectors/request-envelope.json' with { type: 'json' };
import { context, secretOf } from './fixtures.ts';

const secret = secretOf(vector.channelSecret);
const raw = fc.uint8Array({ minLength: 32, maxLength: 32 });

describe('crypto/channel', () => {
  it('agrees with the vector, and with the formula', () => {
    const { unitId, dispatch, nodeId } = context;
    const number = Buffer.from(dispatch.toString(16).padStart(8, '0'), 'hex');
    const message = Buffer.concat([
      Buffer.from(unitId.slice(4), 'hex'),
      number,
      Buffer.from(nodeId.slice(3), 'hex'),
    ]);
    const key = Buffer.from(vector.channelSecret, 'base64url');
    const expected = createHmac('sha256', key).update(message).digest('base64url');
    assert.equal(makeChannelToken(secret, context), expected);
    assert.equal(vector.ticket.channelToken, expected);
  });

  it('authorises exactly one attempt by one node', () => {
    const dispatches = fc.integer({ min: 1, max: 0xffff_fffe });
    fc.assert(
      fc.property(raw, dispatches, raw, raw, (unit, dispatch, node, other) => {
        fc.pre(!Buffer.from(other).equals(unit) && !Buffer.from(other).equals(node));
        const mine = { unitId: formatRequestId(unit), dispatch, nodeId: formatNodeId(node) };
        const token = makeChannelToken(secret, mine);
        assert.ok(checkChannelToken(secret, mine, token));
        for (const change of [
          { unitId: formatSubTaskId(other) },
          { dispatch: dispatch + 1 },
          { nodeId: formatNodeId(other) },
        ])
          assert.ok(!checkChannelToken(secret, { ...mine, ...change }, token));
        assert.ok(!checkChannelToken(createSecretKey(other), mine, token));
      }),
    );
  });

  it('marks the token of a check so that only the coordinator can tell', () => {
    const [work, check] = [false, true].map((kind) => makeChannelToken(secret, context, kind));
    assert.notEqual(work, check);
    assert.equal(work?.length, check?.length);
    assert.ok(checkChannelToken(secret, context, check, true));
    assert.ok(!checkChannelToken(secret, context, check));
    assert.ok(!checkChannelToken(secret, context, work, true));
  });

  it('takes anything for a token', () => {
    const token = makeChannelToken(secret, context);
    for (const value of [
      '',
      token.slice(1),
      `${token}=`,
      `${token.slice(0, -1)}é`,
      undefined,
      {},
      7,
    ])
      assert.equal(checkChannelToken(secret, context, value), false);
  });
});

describe('crypto/channel attempt numbers', () => {
  const dispatches = Array.from({ length: DISPATCH_NUMBER_MAX }, (_, index) => index + 1);

  it('agree with the formula', () => {
    const key = Buffer.from(vector.channelSecret, 'base64url');
    const drawn = dispatches.map((draw) => {
      const unit = Buffer.from(context.unitId.slice(4), 'hex');
      const message = Buffer.concat([
        Buffer.from('attempt.v1'),
        unit,
        Buffer.from([0, 0, 0, draw]),
      ]);
      const bits = createHmac('sha256', key).update(message).digest('hex').slice(0, 12);
      return Number(1_000_000_000n + (BigInt(`0x${bits}`) % 3_294_967_296n));
    });
    assert.deepEqual(
      dispatches.map((dispatch) => attemptNumber(secret, context.unitId, dispatch)),
      drawn,
    );
  });

  it('are distinct, of ten digits, below 2³², and lead back', () => {
    fc.assert(
      fc.property(raw, (unit) => {
        const unitId = formatRequestId(unit);
        const numbers = dispatches.map((dispatch) => attemptNumber(secret, unitId, dispatch));
        assert.equal(new Set(numbers).size, DISPATCH_NUMBER_MAX);
        for (const number of numbers)
          assert.ok(/^[1-9]\d{9}$/.test(`${number}`) && number < 2 ** 32);
        assert.deepEqual(
          numbers.map((number) => dispatchOf(secret, unitId, number)),
          dispatches,
        );
      }),
    );
  });

  it('come in no order, and are nothing to another unit', () => {
    let rises = 0;
    const units = Array.from({ length: 200 }, (_, index) =>
      formatRequestId(new Uint8Array(32).fill(index)),
    );
    for (const [index, unitId] of units.entries()) {
      const first = attemptNumber(secret, unitId, 1);
      if (first < attemptNumber(secret, unitId, 2)) rises += 1;
      assert.equal(dispatchOf(secret, units[index + 1] ?? units[0] ?? unitId, first), null);
    }
    assert.ok(rises > 70 && rises < 130, `${rises} of 200`);
  });

  it('exist for the attempts that a unit may have, and no others', () => {
    assert.ok(DISPATCH_BUDGET.dispatchesMax <= DISPATCH_NUMBER_MAX);
    for (const dispatch of [0, -1, 1.5, DISPATCH_NUMBER_MAX + 1])
      assert.throws(() => attemptNumber(secret, context.unitId, dispatch), RangeError);
    for (const number of [0, 1, 2, 999_999_999, 2 ** 32])
      assert.equal(dispatchOf(secret, context.unitId, number), null);
  });
});

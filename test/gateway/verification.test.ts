import assert from 'node:assert/strict';
import {
  publishEpochs,
  storeDraw,
  storeRequest,
  storeVerification,
  type StoredRequest,
} from '../support/drawn.ts';
import { startLoneGateway, type LoneGateway } from '../support/lone-gateway.ts';

/** Drawn, or not, whatever the draw would say. */
const DRAWN = { isSampled: true };
const NOT_DRAWN = { isSampled: false };

describe('gateway/verification', () => {
  let gateway: LoneGateway;
  before(async () => {
    gateway = await startLoneGateway();
    await publishEpochs(gateway.database, 3);
  });
  after(() => gateway.stop());

  async function viewOf(id: string) {
    const { body } = await gateway.call('GET', `/v1/requests/${id}`);
    const list = await gateway.call('GET', '/v1/requests?limit=100');
    const listed = list.body.data.find((row) => row.id === id);
    assert.deepEqual(listed?.verification, body.verification, 'the list says the same');
    assert.deepEqual(listed?.refund, body.refund);
    return body;
  }

  interface Case {
    readonly request?: StoredRequest;
    readonly draw?: { readonly isSampled: boolean };
    readonly outcome?: 'agreed' | 'overruled' | 'no_majority' | 'hash_only';
    readonly sides?: readonly string[];
    readonly expected: readonly [boolean | null, string | null, RegExp];
  }
  const underWay = { status: 'validated', finishedAt: null };
  const cases: Record<string, Case> = {
    'one without a draw, under way': {
      request: { status: 'running', finishedAt: null },
      expected: [null, null, /^Nothing was drawn yet/],
    },
    'one that ended without a proof': {
      request: { status: 'failed', failureCode: 'schedule.deadline_elapsed' },
      expected: [null, null, /^Nothing was drawn: there is no proof/],
    },
    'one that was not drawn': {
      draw: NOT_DRAWN,
      expected: [false, 'not_sampled', /^Not drawn: 50 % of such work is checked by others/],
    },
    'one that is being checked': {
      request: underWay,
      draw: DRAWN,
      expected: [true, 'pending', /^Drawn to be randomly checked: others are computing/],
    },
    'one that ended before its check': {
      request: { status: 'cancelled', failureCode: 'execute.cancelled' },
      draw: DRAWN,
      expected: [true, null, /ended before the check did/],
    },
    'one that others agree with': {
      draw: DRAWN,
      outcome: 'agreed',
      sides: ['majority', 'minority', 'majority'],
      expected: [true, 'agreed', /^Randomly checked: 2 of 3 nodes have this result\.$/],
    },
    'one that was delivered and lost': {
      request: { status: 'invalidated', failureCode: 'validate.overruled' },
      draw: DRAWN,
      outcome: 'overruled',
      sides: ['minority', 'majority', 'majority'],
      expected: [true, 'overruled', /2 of 3 nodes have another result than the one that was deliv/],
    },
    'one that was replaced before it was delivered': {
      request: { delivery: 'strict' },
      draw: DRAWN,
      outcome: 'overruled',
      sides: ['minority', 'majority', 'majority'],
      expected: [true, 'overruled', /the first result lost; 2 of 3 nodes have this one/],
    },
    'one without a majority': {
      request: { status: 'failed', failureCode: 'validate.no_majority' },
      draw: DRAWN,
      outcome: 'no_majority',
      sides: ['undecided', 'undecided', 'undecided'],
      expected: [true, 'no_majority', /no two nodes have the same result/],
    },
    'one that nobody independent could check': {
      draw: DRAWN,
      outcome: 'hash_only',
      sides: ['undecided'],
      expected: [true, 'hash_only', /nobody independent .* only the commitment was checked\.$/],
    },
  };
  for (const [name, { request, draw, outcome, sides, expected }] of Object.entries(cases))
    it(`says of ${name} what is known, and never that it is verified`, async () => {
      const { database } = gateway;
      const id = await storeRequest(database, request);
      if (draw) await storeDraw(database, id, 1, draw);
      if (outcome) await storeVerification(database, id, outcome, sides);
      const { verification, status, error, delivery } = await viewOf(id);
      const [sampled, state, message] = expected;
      assert.deepEqual([verification.sampled, verification.outcome], [sampled, state]);
      assert.match(verification.message, message);
      assert.doesNotMatch(verification.message, /verif/i);
      assert.deepEqual(
        verification.votes.map(({ side }) => side),
        sides ?? [],
      );
      assert.deepEqual([verification.rate, verification.epoch], draw ? [0.5, 1] : [null, null]);
      assert.deepEqual(
        [status, error?.code, delivery],
        [request?.status ?? 'completed', request?.failureCode, request?.delivery ?? 'validated'],
      );
    });

  it('says what was given back, and why', async () => {
    const kept = await viewOf(await storeRequest(gateway.database, { chargedWei: 40 }));
    assert.deepEqual([kept.charged_wei, kept.refunded_wei, kept.refund], ['40', '0', null]);
    const refundCode = 'node.removed_wrong_results';
    const refunded = { chargedWei: 40, refundedWei: 40, refundCode };
    const back = await viewOf(await storeRequest(gateway.database, refunded));
    assert.deepEqual([back.charged_wei, back.refunded_wei], ['40', '40']);
    assert.equal(back.refund?.code, refundCode);
    assert.match(back.refund?.message ?? '', /too many votes/);
  });
});

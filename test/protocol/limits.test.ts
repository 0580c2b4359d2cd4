import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { rateLimitHeaders, rateLimitsOf, refusalOf, type KeyState } from '../../protocol/limits.ts';

const STATE: KeyState = {
  requestsPerMinute: 10,
  tokensPerMinute: 1_000,
  concurrency: 2,
  budgetWei: '500',
  budgetPeriod: 'day',
  inFlight: 2,
  usedWei: '450',
  windowRequests: 10,
  windowTokens: 900,
  windowSeconds: 12.25,
  periodSeconds: 3_600.5,
};
const DEMAND = { amountWei: 100n, tokens: 200 };

describe('protocol/limits', () => {
  it('tells OpenAI’s headers what is left, and until when', () => {
    assert.deepEqual(rateLimitHeaders(rateLimitsOf(STATE) ?? {}), {
      'x-ratelimit-limit-requests': '10',
      'x-ratelimit-remaining-requests': '0',
      'x-ratelimit-reset-requests': '13s',
      'x-ratelimit-limit-tokens': '1000',
      'x-ratelimit-remaining-tokens': '100',
      'x-ratelimit-reset-tokens': '13s',
    });
    const fresh = { requestsPerMinute: 5, windowRequests: 1, windowSeconds: 60 };
    assert.deepEqual(rateLimitHeaders(rateLimitsOf(fresh) ?? {}), {
      'x-ratelimit-limit-requests': '5',
      'x-ratelimit-remaining-requests': '4',
      'x-ratelimit-reset-requests': '1m0s',
    });
    assert.equal(rateLimitsOf({ windowRequests: 3 }), undefined);
  });

  it('never says that less than nothing is left, or that a reset is past', () => {
    const count = fc.nat(2_000);
    fc.assert(
      fc.property(
        fc.record({
          requestsPerMinute: fc.integer({ min: 1, max: 1_000 }),
          tokensPerMinute: fc.option(fc.integer({ min: 1, max: 1_000 })),
          windowRequests: count,
          windowTokens: count,
          windowSeconds: fc.double({ min: -5, max: 61, noNaN: true }),
        }),
        (state) => {
          const { requests, tokens } = rateLimitsOf(state) ?? {};
          assert.ok(requests);
          assert.equal(tokens === undefined, state.tokensPerMinute === null);
          for (const limit of [requests, tokens]) {
            if (!limit) continue;
            assert.ok(limit.remaining >= 0 && limit.remaining <= limit.limit);
            assert.ok(Number.isInteger(limit.reset_seconds) && limit.reset_seconds >= 0);
          }
        },
      ),
    );
  });

  it('says which limit it was, how much is left, and how long to wait', () => {
    const requests = refusalOf({ refused: 'requests_per_minute', ...STATE }, DEMAND);
    assert.deepEqual(
      [requests.code, requests.detail],
      ['receive.rate_limited', '0 of 10 requests a minute are left. It begins again in 13 s.'],
    );
    assert.deepEqual(requests.metadata, {
      limit: 'requests_per_minute',
      maximum: '10',
      remaining: '0',
      reset_seconds: 13,
      retry_after_seconds: 13,
      rate_limits: rateLimitsOf(STATE),
    });
    const budget = refusalOf({ refused: 'budget', ...STATE }, DEMAND);
    assert.equal(budget.code, 'receive.budget_exhausted');
    assert.equal(
      budget.detail,
      '50 of 500 wei are left; needed: 100 wei. It begins again in 3601 s.',
    );
    assert.equal(budget.metadata?.['retry_after_seconds'], 3_601);
    const concurrency = refusalOf({ refused: 'concurrency', ...STATE }, DEMAND);
    assert.equal(concurrency.metadata?.['retry_after_seconds'], 1);
    assert.equal(concurrency.metadata?.['reset_seconds'], null);
  });

  it('doesn’t tell anybody to wait for what never fits', () => {
    const tokens = { amountWei: 1n, tokens: 1_001 };
    const refused = refusalOf({ refused: 'tokens_per_minute', ...STATE }, tokens);
    assert.equal(refused.metadata?.['retry_after_seconds'], null);
    assert.match(refused.detail, /never fits/);
    const fits = refusalOf({ refused: 'tokens_per_minute', ...STATE }, DEMAND);
    assert.equal(fits.metadata?.['retry_after_seconds'], 13);
    const dear = refusalOf({ refused: 'budget', ...STATE }, { amountWei: 501n, tokens: 1 });
    assert.equal(dear.metadata?.['retry_after_seconds'], null);
    const ever = { ...STATE, budgetPeriod: 'total', periodSeconds: null } as const;
    const total = refusalOf({ refused: 'budget', ...ever }, DEMAND);
    assert.equal(total.metadata?.['reset_seconds'], null);
    assert.ok(!total.detail.includes('begins again'));
  });

  it('tells nothing of a key that isn’t the caller’s, or isn’t there', () => {
    assert.deepEqual(refusalOf({ refused: 'account', ...STATE }, DEMAND), {
      code: 'receive.credit_account_forbidden',
      detail: '',
    });
    assert.deepEqual(refusalOf({ refused: 'key' }, DEMAND), {
      code: 'receive.unauthorized',
      detail: '',
    });
    assert.equal(refusalOf({ refused: 'credit' }, DEMAND).detail, 'Needed: 100 wei.');
  });
});

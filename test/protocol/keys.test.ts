import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import {
  BUDGET_PERIODS,
  changeRefusal,
  handOutRefusal,
  SCOPES,
  type KeyLimits,
  type KeyRights,
} from '../../protocol/keys.ts';

const NONE: KeyLimits = {
  budgetWei: null,
  budgetPeriod: 'month',
  requestsPerMinute: null,
  tokensPerMinute: null,
  concurrency: null,
};
/** What whoever has it may only tighten. */
const TIGHT: KeyLimits = { ...NONE, budgetWei: 0n };
const KEY: KeyRights = {
  id: 'key_1',
  scopes: SCOPES,
  expiresAt: null,
  isAdmin: false,
  limits: NONE,
};

const count = fc.option(fc.integer({ min: 1, max: 3 }));
const limits: fc.Arbitrary<KeyLimits> = fc.record({
  budgetWei: fc.option(fc.bigInt({ min: 0n, max: 3n })),
  budgetPeriod: fc.constantFrom(...BUDGET_PERIODS),
  requestsPerMinute: count,
  tokensPerMinute: count,
  concurrency: count,
});
const rights: fc.Arbitrary<KeyRights> = fc.record({
  id: fc.constantFrom('key_1', 'key_2'),
  scopes: fc.subarray([...SCOPES]),
  expiresAt: fc.option(fc.integer({ min: 0, max: 3 }).map((ms) => new Date(ms))),
  isAdmin: fc.boolean(),
  limits,
});

/** What can be spent in a year at most; null: without end. */
function yearly({ budgetWei, budgetPeriod }: KeyLimits): bigint | null {
  if (budgetWei === null) return null;
  return budgetWei * { day: 365n, month: 12n, total: 1n }[budgetPeriod];
}

describe('protocol/keys', () => {
  it('lets no key hand out more than it has', () => {
    fc.assert(
      fc.property(rights, rights, (by, key) => {
        if (handOutRefusal(by, key) !== undefined) return;
        assert.ok(key.scopes.every((scope) => by.scopes.includes(scope)));
        assert.ok(by.isAdmin || !key.isAdmin);
        const end = (each: KeyRights) => each.expiresAt?.getTime() ?? Infinity;
        assert.ok(end(key) <= end(by));
        const isFree = Object.values({ ...by.limits, budgetPeriod: null }).every((v) => v === null);
        assert.ok(isFree || key.id === by.id, 'limits are not had twice');
      }),
    );
  });

  it('lets an unlimited key hand out all that is within its scopes and its time', () => {
    assert.equal(handOutRefusal(KEY, { ...KEY, id: 'key_2' }), undefined);
    const ends = new Date(5);
    const key = { ...KEY, id: 'key_2', expiresAt: ends };
    assert.equal(handOutRefusal({ ...KEY, expiresAt: ends }, key), undefined);
    assert.match(handOutRefusal({ ...KEY, expiresAt: ends }, KEY) ?? '', /^It ends at 1970/);
    assert.match(handOutRefusal({ ...KEY, scopes: ['keys'] }, KEY) ?? '', /inference, read/);
  });

  it('lets a key with limits tighten limits alone, its own too', () => {
    fc.assert(
      fc.property(rights, rights, limits, (by, key, after) => {
        if (changeRefusal(by, key, after) !== undefined) return;
        assert.ok(by.isAdmin || !key.isAdmin);
        if (Object.values({ ...by.limits, budgetPeriod: null }).every((each) => each === null)) {
          if (changeRefusal({ ...by, limits: TIGHT }, key, after) === undefined) return;
          assert.equal(handOutRefusal(by, key), undefined, 'it loosens what it could hand out');
          return;
        }
        const [was, is] = [yearly(key.limits), yearly(after)];
        assert.ok(was === null || (is !== null && is <= was));
        for (const name of ['requestsPerMinute', 'tokensPerMinute', 'concurrency'] as const)
          assert.ok((after[name] ?? Infinity) <= (key.limits[name] ?? Infinity), name);
      }),
    );
    const own = { ...KEY, limits: { ...NONE, budgetWei: 5n } };
    assert.equal(changeRefusal(own, own, { ...own.limits, budgetWei: 4n }), undefined);
    assert.match(changeRefusal(own, own, { ...own.limits, budgetWei: 6n }) ?? '', /only tighten/);
    assert.match(changeRefusal(own, own, { ...own.limits, budgetPeriod: 'day' }) ?? '', /tighten/);
    assert.equal(changeRefusal(KEY, own, NONE), undefined);
    const manager = { ...KEY, id: 'key_2', scopes: ['keys'] as const };
    assert.match(changeRefusal(manager, own, NONE) ?? '', /lacks inference, read/);
    assert.equal(changeRefusal(manager, own, { ...own.limits, budgetWei: 1n }), undefined);
    const short = { ...KEY, id: 'key_2', expiresAt: new Date(5) };
    assert.match(changeRefusal(short, own, NONE) ?? '', /ends at/);
  });
});

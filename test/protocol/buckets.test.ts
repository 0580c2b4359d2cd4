import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { addressKey, KeyedBuckets, TokenBucket } from '../../protocol/buckets.ts';

describe('protocol/buckets', () => {
  it('lets through no more than its burst, and its rate for the time that passed', () => {
    const steps = fc.array(
      fc.record({ passedMs: fc.nat(500), count: fc.integer({ min: 1, max: 9 }) }),
    );
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), fc.nat(50), steps, (perSecond, burst, all) => {
        const bucket = new TokenBucket(perSecond, burst, 0);
        let [nowMs, taken] = [0, 0];
        for (const { passedMs, count } of all) {
          nowMs += passedMs;
          if (bucket.take(nowMs, count)) taken += count;
          assert.ok(taken <= burst + (nowMs * perSecond) / 1_000 + 1e-6);
        }
      }),
    );
  });

  it('lets the burst through at once, then the rate', () => {
    const bucket = new TokenBucket(10, 3, 0);
    const take = (nowMs: number) => bucket.take(nowMs);
    assert.deepEqual([0, 0, 0, 0, 99, 100, 100].map(take), [
      true,
      true,
      true,
      false,
      false,
      true,
      false,
    ]);
  });

  it('lets nothing through until what was spent beyond the burst has come back', () => {
    const buckets = new KeyedBuckets(10, 3);
    assert.deepEqual(
      [buckets.spend('a', 0, 3), buckets.spend('a', 0, 20), buckets.take('a', 2_000)],
      [true, false, false],
    );
    assert.ok(buckets.take('a', 2_100));
  });

  it('keeps keys apart, and forgets those that are quiet', () => {
    const buckets = new KeyedBuckets(1, 1);
    assert.ok(buckets.take('a', 0));
    assert.ok(!buckets.take('a', 0));
    assert.ok(buckets.take('b', 0));
    for (let index = 0; index < 20_000; index++) buckets.take(`stranger ${index}`, 10);
    assert.ok(!buckets.take('stranger 19999', 11));
    buckets.take('one more', 5_000);
    assert.ok(buckets.size < 10, `${buckets.size} are remembered`);
  });

  it('takes a /64 network for one address, and IPv4 in IPv6 for IPv4', () => {
    assert.equal(addressKey('192.0.2.7'), '192.0.2.7');
    assert.equal(addressKey('::ffff:192.0.2.7'), '192.0.2.7');
    assert.equal(addressKey('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2::/64');
    assert.equal(addressKey('2001:0DB8:1:2::9'), '2001:db8:1:2::/64');
    assert.equal(addressKey('fe80::1%eth0'), 'fe80:0:0:0::/64');
    assert.equal(addressKey('::1'), '0:0:0:0::/64');
  });
});

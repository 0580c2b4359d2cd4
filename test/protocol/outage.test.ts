import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import {
  isExcused,
  isOutage,
  openOutage,
  OUTAGE_SECONDS,
  type Interval,
  type OutageRecord,
} from '../../protocol/outage.ts';
import { ONLINE_SECONDS } from '../../protocol/schedule.ts';

const LIMIT_MS = OUTAGE_SECONDS * 1_000;
const HEARTBEAT_SECONDS = 2;

const interval = fc
  .tuple(fc.integer({ min: 0, max: 100_000 }), fc.integer({ min: 0, max: 30_000 }))
  .map(([fromMs, length]): Interval => ({ fromMs, toMs: fromMs + length }));
const record = fc.record({
  outages: fc.array(interval, { maxLength: 5 }),
  beatAtMs: fc.option(fc.integer({ min: 0, max: 130_000 })),
  nowMs: fc.integer({ min: 0, max: 140_000 }),
});
const times = (of: Interval, step = 1) =>
  Array.from({ length: Math.floor((of.toMs - of.fromMs) / step) + 1 }, (_, index) =>
    Math.min(of.toMs, of.fromMs + index * step),
  );

describe('protocol/outage', () => {
  const quiet: OutageRecord = { outages: [], beatAtMs: 10_000, nowMs: 10_000 };

  it('needs more than its limit between two pulses', () => {
    assert.ok(!isOutage(0, LIMIT_MS));
    assert.ok(isOutage(0, LIMIT_MS + 1));
    assert.ok(!isOutage(LIMIT_MS + 1, 0), 'a clock that was set back is no outage');
  });

  it('costs no node its uptime with a gap that is none', () => {
    assert.ok(OUTAGE_SECONDS + HEARTBEAT_SECONDS < ONLINE_SECONDS);
  });

  it('is open from the last pulse on, and never without one', () => {
    assert.equal(openOutage(quiet), null);
    assert.equal(openOutage({ ...quiet, beatAtMs: null, nowMs: 1e9 }), null);
    const nowMs = 10_000 + LIMIT_MS + 1;
    assert.deepEqual(openOutage({ ...quiet, nowMs }), { fromMs: 10_000, toMs: nowMs });
  });

  it('excuses exactly what shares a moment with an outage', () => {
    fc.assert(
      fc.property(interval, record, (time, known) => {
        const open = openOutage(known);
        const all = open ? [...known.outages, open] : known.outages;
        // Of two intervals that overlap, one begins within the other.
        const within = (atMs: number, of: Interval) => of.fromMs <= atMs && atMs <= of.toMs;
        const expected = all.some((of) => within(time.fromMs, of) || within(of.fromMs, time));
        assert.equal(isExcused(time, known), expected);
      }),
    );
  });

  it('excuses a time if and only if it excuses a moment of it', () => {
    const short = interval.map(({ fromMs }) => ({ fromMs, toMs: fromMs + 300 }));
    fc.assert(
      fc.property(short, record, (time, known) => {
        const moment = times(time).some((atMs) => isExcused({ fromMs: atMs, toMs: atMs }, known));
        assert.equal(isExcused(time, known), moment);
      }),
    );
  });

  it('takes no excuse back when more outages become known', () => {
    fc.assert(
      fc.property(interval, record, interval, (time, known, more) => {
        const after = { ...known, outages: [...known.outages, more] };
        assert.ok(!isExcused(time, known) || isExcused(time, after));
      }),
    );
  });

  it('excuses the same once an open outage is written down', () => {
    fc.assert(
      fc.property(interval, record, (time, known) => {
        const open = openOutage(known);
        if (!open) return;
        const written = { ...known, outages: [...known.outages, open], beatAtMs: known.nowMs };
        assert.equal(isExcused(time, written), isExcused(time, known));
      }),
    );
  });
});

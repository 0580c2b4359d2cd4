import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { PRIORITY_KEYS, type Priority } from '../../protocol/receive.ts';
import {
  OVERTAKE_SECONDS_MAX,
  turnEndsMs,
  waitingPlaceMs,
  type Queued,
} from '../../protocol/schedule.ts';

describe('protocol/schedule waitingPlaceMs', () => {
  const PRIORITIES = Object.keys(PRIORITY_KEYS) as Priority[];
  const NOW_MS = Date.UTC(2026, 0, 1);
  const complexity = fc.oneof(
    fc.integer({ min: 1, max: 100_000 }),
    fc.constantFrom(1, Number.MAX_SAFE_INTEGER),
  );
  const turnMs = fc.integer({ min: 0, max: 86_400_000 }).map((ms) => NOW_MS + ms);
  const priority = fc.constantFrom(...PRIORITIES);
  const queued: fc.Arbitrary<Queued> = fc.record({ priority, complexity, turnMs });
  const place = (unit: Queued, changed: Partial<Queued> = {}) =>
    waitingPlaceMs({ ...unit, ...changed });

  it('puts the higher priority first, of units alike in size and age', () => {
    fc.assert(
      fc.property(queued, (unit) => {
        const urgent = place(unit, { priority: 'urgent' });
        const expedited = place(unit, { priority: 'expedited' });
        assert.ok(urgent < expedited);
        assert.ok(expedited < place(unit, { priority: 'standard' }));
      }),
    );
  });

  it('puts the larger first, of units alike in priority and age', () => {
    fc.assert(
      fc.property(queued, fc.integer({ min: 1, max: 50_000 }), (unit, more) => {
        const small = { ...unit, complexity: Math.min(unit.complexity, 50_000) };
        assert.ok(place(small, { complexity: small.complexity + more }) < place(small));
      }),
    );
  });

  it('never lets size outweigh a priority', () => {
    fc.assert(
      fc.property(queued, complexity, complexity, (unit, one, other) => {
        const expedited = place(unit, { priority: 'expedited', complexity: one });
        assert.ok(place(unit, { priority: 'urgent', complexity: other }) <= expedited);
        assert.ok(expedited < place(unit, { priority: 'standard', complexity: other }));
      }),
    );
  });

  it('puts the older first, of units alike in priority and size', () => {
    fc.assert(
      fc.property(queued, fc.integer({ min: 1, max: 86_400_000 }), (unit, laterMs) => {
        const later = place(unit, { turnMs: unit.turnMs + laterMs });
        // A later arrival moves the place by as much: two units never change places by waiting.
        assert.ok(Math.abs(later - place(unit) - laterMs) < 0.01);
      }),
    );
  });

  it('never puts one first that came later by more than the bound', () => {
    fc.assert(
      fc.property(queued, queued, fc.integer({ min: 1, max: 86_400_000 }), (old, unit, moreMs) => {
        const lateMs = old.turnMs + OVERTAKE_SECONDS_MAX * 1_000 + moreMs;
        assert.ok(place(unit, { turnMs: lateMs }) > place(old));
      }),
    );
  });

  it('promises no more than it needs to: nearly the bound later, one does go first', () => {
    const small: Queued = { priority: 'standard', complexity: 1, turnMs: NOW_MS };
    const turnMs = NOW_MS + OVERTAKE_SECONDS_MAX * 1_000 - 100;
    const large: Queued = { priority: 'urgent', complexity: 10_000_000, turnMs };
    assert.ok(place(large) < place(small));
  });

  it('is finite for any size, and never further from the acceptance than the bound', () => {
    for (const complexity of [0, 1, 2_048, Number.MAX_SAFE_INTEGER, Number.MAX_VALUE])
      for (const priority of PRIORITIES) {
        const unit: Queued = { priority, complexity, turnMs: NOW_MS };
        assert.ok(Number.isFinite(place(unit)));
        assert.ok(Math.abs(place(unit) - NOW_MS) <= OVERTAKE_SECONDS_MAX * 1_000);
      }
  });

  it('makes turns as long as units are large, so that equal work takes equal turns', () => {
    const work = fc.array(fc.integer({ min: 1, max: 10_000 }), { minLength: 1, maxLength: 50 });
    const endOf = (sizes: readonly number[]) =>
      sizes.reduce((turnMs, complexity) => turnEndsMs({ complexity, turnMs }), NOW_MS);
    fc.assert(
      fc.property(work, (sizes) => {
        const total = sizes.reduce((sum, size) => sum + size, 0);
        assert.ok(endOf(sizes) > NOW_MS);
        assert.ok(Math.abs(endOf(sizes) - endOf([total])) < 1);
      }),
    );
  });
});

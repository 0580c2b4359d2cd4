import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { CHECK_BUDGET, decideVote, mayAskAgain } from '../../protocol/vote.ts';

const T = true;

/** Agreement of votes by what they say: an equivalence. */
const says = (...results: string[]) => results.map((a) => results.map((b) => a === b));

describe('protocol/vote', () => {
  it('needs a second vote, unless nobody can give one', () => {
    assert.deepEqual(decideVote(says('a'), false), { kind: 'undecided' });
    assert.deepEqual(decideVote(says('a'), true), {
      kind: 'decided',
      outcome: 'hash_only',
      winner: 0,
      sides: ['undecided'],
    });
  });

  it('is decided by two that agree, and by a third where they do not (spec step 07)', () => {
    const decided = (outcome: string, winner: number | null, ...sides: string[]) => ({
      kind: 'decided',
      outcome,
      winner,
      sides,
    });
    for (const isLast of [true, false]) {
      assert.deepEqual(
        decideVote(says('a', 'a'), isLast),
        decided('agreed', 0, 'majority', 'majority'),
      );
      assert.deepEqual(
        decideVote(says('a', 'b', 'a'), isLast),
        decided('agreed', 0, 'majority', 'minority', 'majority'),
      );
      assert.deepEqual(
        decideVote(says('a', 'b', 'b'), isLast),
        decided('overruled', 1, 'minority', 'majority', 'majority'),
      );
      assert.deepEqual(
        decideVote(says('a', 'b', 'c'), isLast),
        decided('no_majority', null, 'undecided', 'undecided', 'undecided'),
      );
    }
    assert.deepEqual(decideVote(says('a', 'b'), false), { kind: 'undecided' });
    assert.deepEqual(
      decideVote(says('a', 'b'), true),
      decided('no_majority', null, 'undecided', 'undecided'),
    );
  });

  it('compares all pairs: tolerance is not transitive', () => {
    // 1 is near 2 and 2 near 3, but 1 is not near 3: all are near the one in the middle.
    const chain = (middle: 0 | 1 | 2) =>
      [0, 1, 2].map((a) => [0, 1, 2].map((b) => a === b || a === middle || b === middle));
    for (const middle of [0, 1, 2] as const) {
      const decision = decideVote(chain(middle), true);
      assert.ok(decision.kind === 'decided');
      assert.deepEqual([decision.outcome, decision.winner], ['agreed', 0]);
      assert.deepEqual(decision.sides, ['majority', 'majority', 'majority']);
    }
  });

  it('without tolerance: the order of the checkers changes nothing', () => {
    const result = fc.constantFrom('a', 'b', 'c');
    fc.assert(
      fc.property(result, result, result, (first, second, third) => {
        const one = decideVote(says(first, second, third), true);
        const other = decideVote(says(first, third, second), true);
        assert.ok(one.kind === 'decided' && other.kind === 'decided');
        assert.equal(one.outcome, other.outcome);
        assert.deepEqual(
          [one.sides[0], one.sides[1], one.sides[2]],
          [other.sides[0], other.sides[2], other.sides[1]],
        );
      }),
    );
  });

  it('with any tolerance: a winner has a majority with it, and nobody else is a winner', () => {
    const agreements = fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()).map(([ab, ac, bc]) => [
      [T, ab, ac],
      [ab, T, bc],
      [ac, bc, T],
    ]);
    fc.assert(
      fc.property(agreements, (agrees) => {
        const decision = decideVote(agrees, true);
        assert.ok(decision.kind === 'decided');
        const { outcome, winner, sides } = decision;
        if (winner === null) {
          assert.equal(outcome, 'no_majority');
          assert.ok(agrees.flat().filter(Boolean).length === 3);
          return;
        }
        assert.equal(outcome === 'agreed', winner === 0);
        assert.equal(sides[winner], 'majority');
        assert.ok(sides.filter((side) => side === 'majority').length >= 2);
        // Who agrees with nobody is in no majority.
        for (const [index, side] of sides.entries())
          if (agrees[index]?.filter(Boolean).length === 1) assert.equal(side, 'minority');
      }),
    );
  });

  it('asks in place of who was lost or rejected, within a budget', () => {
    const { poeFaultsMax, otherLossesMax } = CHECK_BUDGET;
    const faults = Array<'poe.missing'>(poeFaultsMax).fill('poe.missing');
    const losses = Array<'execute.node_lost'>(otherLossesMax).fill('execute.node_lost');
    assert.ok(mayAskAgain([]));
    assert.ok(mayAskAgain([...faults, ...losses]));
    assert.ok(!mayAskAgain([...faults, 'poe.missing']));
    assert.ok(!mayAskAgain([...losses, 'node.deadline_exceeded']));
  });

  it('refuses counts that can not be', () => {
    assert.throws(() => decideVote([], true), RangeError);
    assert.throws(() => decideVote(says('a', 'a', 'a', 'a'), true), RangeError);
  });
});

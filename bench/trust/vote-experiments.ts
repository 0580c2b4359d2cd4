import type { Random } from '../sim/random.ts';
import { shareOf, type Comparison } from './comparison.ts';
import { voteChances } from './formulas.ts';
import type { Trial } from './sampling-experiments.ts';
import { simulateVote, type SimulatedVote } from './simulated-vote.ts';

/** Pools of the table in docs/verification.md: operators, and how many of them collude. */
const POOLS = [
  [38, 4],
  [38, 8],
] as const;

/** What a majority of at most three is worth against colluders who tell the same lie. */
export function voteExperiments({ random, runs }: Trial): Comparison[] {
  return POOLS.flatMap(([operators, colluders]) => {
    const chances = voteChances(operators, colluders);
    const ends = { silent: 0, wins: 0, caught: 0, framed: 0 };
    for (let run = 0; run < runs; run++) {
      const { outcome, votes } = check(random, operators, colluders, true);
      if (outcome === 'overruled') ends.caught++;
      else if (votes === 2) ends.silent++;
      else ends.wins++;
      if (check(random, operators, colluders, false).outcome === 'overruled') ends.framed++;
    }
    return (['silent', 'wins', 'caught', 'framed'] as const).map((end) =>
      shareOf(
        `${colluders} of ${operators} operators collude: ${end}`,
        chances[end],
        ends[end],
        runs,
      ),
    );
  });
}

/** Draws who checks from all other operators, evenly. The first `colluders` of them lie. */
function check(
  random: Random,
  operators: number,
  colluders: number,
  isLie: boolean,
): SimulatedVote {
  const asked = [isLie ? 0 : operators - 1];
  const others = Array.from({ length: operators }, (_, index) => index).filter(
    (operator) => operator !== asked[0],
  );
  return simulateVote(() => {
    const operator =
      asked.pop() ?? others.splice(Math.floor(random.between(0, others.length)), 1)[0];
    return operator !== undefined && operator < colluders ? 'the lie' : 'the result';
  });
}

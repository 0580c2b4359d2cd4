import { Random } from '../sim/random.ts';
import type { Comparison } from './comparison.ts';
import { removalExperiments } from './removal-experiments.ts';
import { samplingExperiments } from './sampling-experiments.ts';
import { voteExperiments } from './vote-experiments.ts';

/** All that `npm run sim:trust` compares. The same seed gives the same values. */
export function experiments(runs: number, seed: number): Comparison[] {
  const trial = { random: new Random(seed), runs, seed };
  return [...samplingExperiments(trial), ...removalExperiments(trial), ...voteExperiments(trial)];
}

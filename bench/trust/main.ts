import { parseArgs } from 'node:util';
import { runWithOptions } from '../run-with-options.ts';
import { isReproduced } from './comparison.ts';
import { experiments } from './experiments.ts';
import { renderComparisons } from './report.ts';

const HELP = `Usage: npm run sim:trust -- [options]

Simulates liars, colluders and honest nodes under random checks, with the functions that decide in
the coordinator (draws, votes, the sequential test), and compares with the closed forms that
docs/verification.md is printed from. Starts no server. Exits with 1 if a simulated value is more
than 4 standard errors off.

Options
  --runs N           20000: repetitions of a cheap experiment; others take a share of it
  --seed N           1: the same seed gives the same values
  --help             show this text
`;

const say = (line: string) => void process.stdout.write(`${line}\n`);

interface Options {
  readonly runs: number;
  readonly seed: number;
}

/** @returns null for --help. @throws RangeError or TypeError for what makes no sense. */
function readOptions(): Options | null {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '20000' },
      seed: { type: 'string', default: '1' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return null;
  const [runs, seed] = [Number(values.runs), Number(values.seed)];
  // Fewer give no standard error to speak of.
  if (!Number.isSafeInteger(runs) || runs < 1_000)
    throw new RangeError(`--runs can't be ${values.runs}: at least 1000`);
  if (values.seed === '' || !Number.isInteger(seed) || Math.abs(seed) > 1e9)
    throw new RangeError(`--seed can't be ${values.seed}`);
  return { runs, seed };
}

function run({ runs, seed }: Options): number {
  const comparisons = experiments(runs, seed);
  say(renderComparisons(comparisons));
  return comparisons.every(isReproduced) ? 0 : 1;
}

process.exitCode = await runWithOptions({ script: 'sim:trust', help: HELP, readOptions, run });

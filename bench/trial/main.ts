import { parseArgs } from 'node:util';
import { faults } from './findings.ts';
import { renderTrial } from './report.ts';
import { ALL_KINDS, PLAN, runTrial } from './trial.ts';

const HELP = `Usage: npm run trial:liars -- [options]

Sends requests through a network of real processes in which a fourth of the nodes lie, and shows
who was removed and what became of wrong answers. Half of the units are checked. Some minutes.
Exits with 1 if a liar is still in the pool, an honest node isn't, or a wrong answer was paid for.
More requests are sent while a liar is still in the pool, at most ${PLAN.requestsMax} in all.

Options
  --all-kinds    one liar of each kind that shows at once, among ten honest nodes
  --requests N   how many (${PLAN.requests}; with --all-kinds ${ALL_KINDS.requests})
  --help         show this text
`;

/** Between two lines of progress. */
const PROGRESS = 250;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      'all-kinds': { type: 'boolean', default: false },
      requests: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const plan = values['all-kinds'] ? ALL_KINDS : PLAN;
  const requests = Number(values.requests ?? plan.requests);
  const requestsMax = Math.max(requests, plan.requestsMax);
  if (values.help || !Number.isInteger(requests) || requests < 1) {
    process.stdout.write(HELP);
    return values.help ? 0 : 2;
  }
  const findings = await runTrial({ ...plan, requests, requestsMax }, (answered) => {
    if (answered % PROGRESS === 0) process.stderr.write(`${answered} of ${requests} answered\n`);
  });
  process.stdout.write(`${renderTrial(findings)}\n`);
  const found = faults(findings);
  for (const fault of found) process.stderr.write(`✗ ${fault}\n`);
  return found.length === 0 ? 0 : 1;
}

process.exitCode = await main();

import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { measureBesideFloods } from './beside-floods.ts';
import { measureFootprint, type Footprint } from './footprint.ts';
import { historyEventsOf } from './history.ts';
import { startCluster } from './cluster.ts';
import { environment } from './environment.ts';
import { writeBetween, type Marks } from './marked-report.ts';
import { measureAll, measureStatements, type Plan } from './measure.ts';
import { FULL, partsOf, QUICK, type Part, type Plans } from './plans.ts';
import { stopOnSignals } from './own-directory.ts';
import { plotRuns } from './plot.ts';
import { measurePollers } from './pollers.ts';
import { measureReservations } from './reservation.ts';
import { renderFindings, renderFootprints, type Findings } from './report.ts';
import { runWithOptions } from './run-with-options.ts';
import { reportAdded, reportOpenStreams } from './streaming/parts.ts';
import { measureWaiting } from './waiting.ts';

/** In the checkout, which is the working directory: this file may run from a build. */
const REPORT = join('docs', 'performance.md');
const PLOT = join('images', 'performance.svg');
/** What is between these lines is written anew; the rest of the report is written by people. */
const MARKS: Readonly<Record<Part, Marks>> = {
  requests: { begin: '<!-- measured: begin -->', end: '<!-- measured: end -->' },
  added: { begin: '<!-- added: begin -->', end: '<!-- added: end -->' },
  streams: { begin: '<!-- streams: begin -->', end: '<!-- streams: end -->' },
};

const HELP = `Usage: npm run bench -- [options]

Measures, in parts:
  requests   a request through gateway, coordinator and node, on a backend that answers at once,
             against the least that Temporal allows on the same server: a workflow of one activity,
             without and with the two RSA operations of a node, and with and without the edge. Then
             what floods and idle pollers cost, and start time and memory of the whole network.
             About 10 minutes.
  added      what the network adds to the time of a streaming request, over its backend called
             directly and over a plain relay before it. About 10 minutes.
  streams    what 1,000 open streams cost one gateway. About 4 minutes.

Options
  --only LIST        some of these parts, such as added,streams
  --write            put what was measured into docs/performance.md
  --quick            one short repetition: whether it works, not how fast it is
  --profile DIR      leave a CPU profile (.cpuprofile) of each Node process there
  --help             show this text
`;

interface Options {
  readonly parts: readonly Part[];
  readonly plans: Plans;
  readonly write: boolean;
  readonly profileDir: string | undefined;
}

const say = (line: string) => void process.stdout.write(`${line}\n`);

function readOptions(): Options | null {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: '' },
      write: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      profile: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return null;
  return {
    parts: partsOf(values.only),
    plans: values.quick ? QUICK : FULL,
    write: values.write,
    profileDir: values.profile,
  };
}

async function main({ parts, plans, write, profileDir }: Options): Promise<number> {
  stopOnSignals();
  const report: Readonly<Record<Part, () => Promise<string>>> = {
    requests: () => reportRequests(plans.requests, profileDir, write),
    added: () => reportAdded(plans.added, { profileDir, say }),
    streams: () => reportOpenStreams(plans.streams, plans.added.pace, { profileDir, say }),
  };
  for (const part of parts) {
    const text = await report[part]();
    say(`\n${text}\n`);
    if (!write) continue;
    await writeBetween(REPORT, MARKS[part], text);
    say(`Written to ${REPORT}.`);
  }
  return 0;
}

async function reportRequests(
  plan: Plan,
  profileDir: string | undefined,
  write: boolean,
): Promise<string> {
  const { report, plot } = await measureRequests(plan, profileDir);
  const whole = `${report}\n\n${renderFootprints(await measureFootprints())}`;
  if (write) {
    await mkdir(join(dirname(REPORT), 'images'), { recursive: true });
    await writeFile(join(dirname(REPORT), PLOT), `${plot}\n`);
  }
  return whole;
}

/** The whole network of `npm start`, with the real model: a first start, and one on its data. */
async function measureFootprints(): Promise<readonly [Footprint, Footprint]> {
  say('Starting the whole network, twice …');
  const dataDir = await mkdtemp(join(tmpdir(), 'plx-bench-network-'));
  try {
    // Private by default; PostgreSQL's account must be able to pass through.
    await chmod(dataDir, 0o755);
    return [await measureFootprint({ dataDir }), await measureFootprint({ dataDir })];
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}

async function measureRequests(
  plan: Plan,
  profileDir: string | undefined,
): Promise<{ readonly report: string; readonly plot: string }> {
  say('Starting PostgreSQL, Temporal, coordinator, gateway, node and the floor …');
  const cluster = await startCluster(profileDir);
  let findings: Findings;
  try {
    const runs = await measureAll(cluster, plan, say);
    findings = {
      runs,
      statements: await measureStatements(cluster, plan.secondsPerRun),
      waiting: await measureWaiting(cluster, plan.repetitions, plan.secondsPerRun),
      reservations: await measureReservations(cluster.databaseUrl, plan.repetitions),
      historyEvents: await historyEventsOf(cluster),
      floods: await measureBesideFloods(cluster, plan.repetitions, plan.secondsPerRun),
      pollers: await measurePollers(cluster, plan.pollers, 2 * plan.secondsPerRun),
      environment: await environment(cluster.postgresVersion),
      plotPath: PLOT.replaceAll('\\', '/'),
    };
  } finally {
    await cluster.stop();
  }
  return { report: renderFindings(findings), plot: await plotRuns(findings.runs) };
}

process.exitCode = await runWithOptions({ script: 'bench', help: HELP, readOptions, run: main });

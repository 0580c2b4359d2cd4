import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { measureBesideFloods } from './beside-floods.ts';
import { measureFootprint, type Footprint } from './footprint.ts';
import { historyEventsOf } from './history.ts';
import { startCluster } from './cluster.ts';
import { writeBetween } from './marked-report.ts';
import { measureAll, measureStatements, type Plan } from './measure.ts';
import { plotRuns } from './plot.ts';
import { measurePollers } from './pollers.ts';
import { measureReservations } from './reservation.ts';
import { renderFindings, renderFootprints, type Findings } from './report.ts';
import { measureWaiting } from './waiting.ts';

/** In the checkout, which is the working directory: this file may run from a build. */
const REPORT = join('docs', 'performance.md');
const PLOT = join('images', 'performance.svg');
/** What is between these lines is written anew; the rest of the report is written by people. */
const MARKS = { begin: '<!-- measured: begin -->', end: '<!-- measured: end -->' } as const;

const HELP = `Usage: npm run bench -- [options]

Measures a request through gateway, coordinator and node, on a backend that answers at once, against
the least that Temporal allows on the same server: a workflow of one activity, without and with the
two RSA operations of a node, and with and without the edge. Then what floods and idle
pollers cost, and start time and memory of the whole network. About 10 minutes.

Options
  --write            put what was measured into docs/performance.md
  --quick            one short repetition: whether it works, not how fast it is
  --profile DIR      leave a CPU profile (.cpuprofile) of each Node process there
  --help             show this text
`;

const PLAN: Plan = {
  inFlightLevels: [1, 16, 64],
  repetitions: 5,
  secondsPerRun: 4,
  warmUpSeconds: 30,
  pollers: 1_000,
};
const QUICK: Plan = {
  inFlightLevels: [1, 4],
  repetitions: 1,
  secondsPerRun: 1,
  warmUpSeconds: 1,
  pollers: 20,
};

const say = (line: string) => void process.stdout.write(`${line}\n`);

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      write: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      profile: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    say(HELP);
    return 0;
  }
  const { report, plot } = await measure(values.quick ? QUICK : PLAN, values.profile);
  const whole = `${report}\n\n${renderFootprints(await measureFootprints())}`;
  say(`\n${whole}\n`);
  if (values.write) await write(whole, plot);
  return 0;
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

async function measure(
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

/** Nothing of it names the machine or its user. */
async function environment(postgresVersion: string): Promise<[string, string][]> {
  const cli = process.env['TEMPORAL_CLI_PATH'] ?? '';
  const { stdout } = await promisify(execFile)(cli, ['--version']);
  return [
    ['processor', `${cpus()[0]?.model.trim() ?? 'unknown'}, ${availableParallelism()} cores`],
    ['memory', `${(totalmem() / 2 ** 30).toFixed(0)} GiB`],
    ['system', `${process.platform} ${process.arch}, Node ${process.versions.node}`],
    ['servers', `PostgreSQL ${postgresVersion}, ${stdout.trim()}`],
  ];
}

async function write(report: string, plot: string): Promise<void> {
  await writeBetween(REPORT, MARKS, report);
  await mkdir(join(dirname(REPORT), 'images'), { recursive: true });
  await writeFile(join(dirname(REPORT), PLOT), `${plot}\n`);
  say(`Written to ${REPORT}.`);
}

process.exitCode = await main();

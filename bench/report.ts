import type { FloodCost } from './beside-floods.ts';
import type { Footprint } from './footprint.ts';
import { mebibytes, range, table } from './markdown.ts';
import { levelsOf, runsOf, type Run, type StatementUse } from './measure.ts';
import type { EdgeUse, PollersCost } from './pollers.ts';
import type { ReservationCost } from './reservation.ts';
import { SCENARIO_TITLES, SCENARIOS, type Scenario } from './scenarios.ts';
import { ratios } from './statistics.ts';
import type { WaitingCost } from './waiting.ts';

/** Everything that one run of the benchmark found. */
export interface Findings {
  readonly runs: readonly Run[];
  readonly statements: StatementUse;
  readonly waiting: WaitingCost;
  readonly reservations: readonly ReservationCost[];
  readonly pollers: PollersCost;
  readonly floods: FloodCost;
  readonly historyEvents: Readonly<Record<Scenario, number>>;
  /** Of the machine and what ran on it, for people: name and value. */
  readonly environment: readonly (readonly [string, string])[];
  /** Path of the plot, relative to the report. */
  readonly plotPath: string;
}

/** What the network may take to start once everything is installed. */
const READY_SECONDS_MAX = 20;
const RSS_BYTES_MAX = 3 * 2 ** 30;
/** The level at which CPU time is told: enough to keep both cores busy, without a queue. */
const CPU_LEVEL = 16;

/** What was measured, as Markdown, ratios first: absolute numbers are those of one machine. */
export function renderFindings(findings: Findings): string {
  const { runs, plotPath } = findings;
  return [
    '### Full path by fair floor',
    '',
    ratioTable(runs, 'rsa'),
    '',
    '### Full path by one-activity workflow without RSA',
    '',
    ratioTable(runs, 'plain'),
    '',
    '### What the edge costs: with it, by without it (aim: at most 1.10)',
    '',
    ratioTable(runs, 'direct'),
    '',
    `![Throughput and latency](${plotPath})`,
    '',
    '### Requests per second and latency',
    '',
    absoluteTable(runs),
    '',
    '### CPU time per request, in ms',
    '',
    cpuTable(runs),
    '',
    '### What one request costs the servers',
    '',
    costs(findings),
    '',
    '### Waiting, and large pools',
    '',
    scheduling(findings),
    '',
    '### Honest traffic beside floods of one stranger: by traffic without',
    '',
    besideFloods(findings.floods),
    '',
    '### Idle nodes on one edge',
    '',
    idleNodes(findings.pollers),
    '',
    '### Measured on',
    '',
    ...findings.environment.map(([name, value]) => `- ${name}: ${value}`),
  ].join('\n');
}

/** Ratios of runs that were measured one after the other, median and min–max of them. */
function ratioTable(runs: readonly Run[], floor: Scenario): string {
  const rows = levelsOf(runs).map((inFlight) => {
    const full = runsOf(runs, 'full', inFlight);
    const base = runsOf(runs, floor, inFlight);
    const ratio = (of: (run: Run) => number) => range(ratios(full.map(of), base.map(of)), 2);
    return [
      String(inFlight),
      ratio((run) => run.requestsPerSecond),
      ratio((run) => run.p50Ms),
      ratio((run) => run.p95Ms),
      ratio((run) => cpuTotalMs(run)),
    ];
  });
  return table(['in flight', 'throughput', 'p50', 'p95', 'CPU time'], rows);
}

function absoluteTable(runs: readonly Run[]): string {
  const rows = levelsOf(runs).flatMap((inFlight) =>
    SCENARIOS.map((scenario) => {
      const group = runsOf(runs, scenario, inFlight);
      return [
        String(inFlight),
        SCENARIO_TITLES[scenario],
        range(
          group.map((run) => run.requestsPerSecond),
          1,
        ),
        ...(['p50Ms', 'p95Ms', 'p99Ms'] as const).map((key) =>
          range(
            group.map((run) => run[key]),
            0,
          ),
        ),
      ];
    }),
  );
  return table(['in flight', '', 'requests/s', 'p50 ms', 'p95 ms', 'p99 ms'], rows);
}

function cpuTable(runs: readonly Run[]): string {
  const levels = levelsOf(runs);
  const level = levels.includes(CPU_LEVEL) ? CPU_LEVEL : (levels[0] ?? 0);
  const names = [...new Set(runs.flatMap(({ cpuMs }) => Object.keys(cpuMs)))];
  const column = (name: string, scenario: Scenario) =>
    range(
      runsOf(runs, scenario, level).map(({ cpuMs }) => cpuMs[name] ?? 0),
      1,
    );
  const rows = names.map((name) => [name, ...SCENARIOS.map((scenario) => column(name, scenario))]);
  const sums = SCENARIOS.map((scenario) => range(runsOf(runs, scenario, level).map(cpuTotalMs), 1));
  const head = [`${level} in flight`, ...SCENARIOS.map((scenario) => SCENARIO_TITLES[scenario])];
  return table(head, [...rows, ['**all**', ...sums]]);
}

function costs({ statements, historyEvents }: Findings): string {
  const { roundTripsPerRequest, innerPerRequest, backgroundPerSecond, requests } = statements;
  const events = SCENARIOS.map((scenario) => [
    `history events, ${SCENARIO_TITLES[scenario]}`,
    String(historyEvents[scenario]),
  ]);
  const each = statements.statements
    .filter(({ calls, isRoundTrip }) => isRoundTrip && calls >= requests / 2)
    .map(({ text, calls, totalMs }) => [
      `\`${text.slice(0, 70).replaceAll('|', '\\|')}…\``,
      `${(calls / requests).toFixed(2)} × ${(totalMs / calls).toFixed(2)} ms`,
    ]);
  return table(
    ['', 'per request'],
    [
      ...events,
      ['SQL statements sent, full path', roundTripsPerRequest.toFixed(1)],
      ['SQL statements that functions and triggers run', innerPerRequest.toFixed(1)],
      ['SQL statements sent with nothing to do', `${backgroundPerSecond.toFixed(1)} a second`],
      ...each,
    ],
  );
}

/** Ratios of what was measured in turns. */
function scheduling({ waiting, reservations }: Findings): string {
  const rows = [
    [
      'a slot handed to a request that waits, by one that is free (time a request)',
      range(ratios(waiting.handedMs, waiting.freeMs), 2),
    ],
  ];
  const [smallest, ...others] = reservations;
  for (const { nodes, medianMs } of others)
    rows.push([
      `a reservation among ${nodes} nodes, by one among ${smallest?.nodes} (at most 2)`,
      range(ratios(medianMs, smallest?.medianMs ?? []), 2),
    ]);
  return table(['', 'ratio'], rows);
}

function besideFloods({ quiet, handshakes, polls }: FloodCost): string {
  return table(
    ['beside', 'throughput'],
    [
      ['500 TLS handshakes a second', range(ratios(handshakes, quiet), 2)],
      ['1,000 polls a second', range(ratios(polls, quiet), 2)],
    ],
  );
}

function idleNodes({ pollers, without, with: full }: PollersCost): string {
  const row = (name: string, { rssBytes, cpuShare }: EdgeUse) => [
    name,
    mebibytes(rssBytes),
    `${(100 * cpuShare).toFixed(1)} % of a core`,
  ];
  const eachKibibytes = (full.rssBytes - without.rssBytes) / pollers / 1_024;
  return [
    table(
      ['the edge with', 'RSS', 'CPU'],
      [row('no nodes', without), row(`${pollers} connected nodes that poll`, full)],
    ),
    '',
    `That is ${eachKibibytes.toFixed(0)} KiB a node.`,
  ].join('\n');
}

/** Start and memory of the whole network: a first start, and one on the data that it left. */
export function renderFootprints([first, later]: readonly [Footprint, Footprint]): string {
  const kept = (isKept: boolean) => (isKept ? '' : ' (missed)');
  const seconds = ({ readySeconds }: Footprint) =>
    `**${readySeconds.toFixed(1)} s**${kept(readySeconds <= READY_SECONDS_MAX)}`;
  const total = ({ rssBytes, pssBytes }: Footprint) =>
    `**${mebibytes(rssBytes)}**${kept(rssBytes <= RSS_BYTES_MAX)}, ${pss(pssBytes)}`;
  const processes = later.perProcess.map(({ name, rssBytes, pssBytes }) => [
    name,
    '',
    `${mebibytes(rssBytes)}, ${pss(pssBytes)}`,
  ]);
  return [
    '### The whole network, with its four models',
    '',
    table(
      ['', 'first start', 'later start'],
      [
        [`ready (at most ${READY_SECONDS_MAX} s)`, seconds(first), seconds(later)],
        ['memory after one request: RSS (at most 3 GiB), PSS', total(first), total(later)],
        ...processes,
      ],
    ),
    '',
    'RSS counts what processes share in each of them, such as the model file; PSS divides it.',
  ].join('\n');
}

function pss(bytes: number | null): string {
  return bytes === null ? 'unknown' : mebibytes(bytes);
}

/** CPU time per request of all processes together. */
function cpuTotalMs({ cpuMs }: Run): number {
  return Object.values(cpuMs).reduce((sum, ms) => sum + ms, 0);
}

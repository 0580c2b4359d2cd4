import { mebibytes, range, table } from '../markdown.ts';
import { levelsOf } from '../measure.ts';
import { differences, ratios } from '../statistics.ts';
import type { AddedRun, Pace } from './added.ts';
import { TARGETS, type Target } from './client.ts';
import type { Memory } from './inspector.ts';
import { HOLDERS, type Holder, type OpenStreamsCost } from './open-streams.ts';

const TARGET_TITLES: Readonly<Record<Target, string>> = {
  backend: 'backend alone',
  relay: 'plain relay',
  network: 'network',
};

const TIMES = [
  ['firstTokenP50Ms', 'first token, p50'],
  ['firstTokenP95Ms', 'first token, p95'],
  ['totalP50Ms', 'whole answer, p50'],
  ['totalP95Ms', 'whole answer, p95'],
] as const;

/** What the network adds to the time of a streaming request, as Markdown. */
export function renderAdded(
  runs: readonly AddedRun[],
  { tokens, firstTokenMs, tokenMs }: Pace,
  measuredOn: string,
): string {
  return [
    `### Time added to a streaming request of ${tokens} tokens`,
    '',
    `The backend's first token comes after ${firstTokenMs} ms, each further one ${tokenMs} ms ` +
      'later. Milliseconds; what is added is the difference of runs that were made in turns.',
    '',
    timesTable(runs),
    '',
    ratesTable(runs),
    '',
    cpuTable(runs),
    '',
    measuredOn,
  ].join('\n');
}

function timesTable(runs: readonly AddedRun[]): string {
  const rows = levelsOf(runs).flatMap((inFlight) =>
    TIMES.map(([key, title]) => {
      const times = (target: Target) => runsOf(runs, target, inFlight).map((run) => run[key]);
      const [backend, relay, network] = [times('backend'), times('relay'), times('network')];
      return [
        String(inFlight),
        title,
        ...[backend, relay, network].map((each) => range(each, 0)),
        range(differences(network, backend), 0),
        range(differences(network, relay), 0),
        range(ratios(network, backend), 2),
        range(ratios(network, relay), 2),
      ];
    }),
  );
  const head = [
    'in flight',
    '',
    ...TARGETS.map((target) => TARGET_TITLES[target]),
    'added to the backend',
    'added to the relay',
    'by the backend',
    'by the relay',
  ];
  return table(head, rows);
}

function ratesTable(runs: readonly AddedRun[]): string {
  const rows = levelsOf(runs).map((inFlight) => {
    const rates = (target: Target) =>
      runsOf(runs, target, inFlight).map((run) => run.requestsPerSecond);
    return [
      String(inFlight),
      ...TARGETS.map((target) => range(rates(target), 1)),
      range(ratios(rates('network'), rates('relay')), 2),
    ];
  });
  const titles = TARGETS.map((target) => `${TARGET_TITLES[target]}, requests/s`);
  return table(['in flight', ...titles, 'network by relay'], rows);
}

/** CPU time per request by the network, and the sums of both ways through something. */
function cpuTable(runs: readonly AddedRun[]): string {
  const levels = levelsOf(runs);
  const names = [...new Set(runs.flatMap(({ cpuMs }) => Object.keys(cpuMs)))];
  const cells = (target: Target, of: (run: AddedRun) => number) =>
    levels.map((inFlight) => range(runsOf(runs, target, inFlight).map(of), 1));
  const rows = names
    .filter((name) => name !== 'relay')
    .map((name) => [name, ...cells('network', ({ cpuMs }) => cpuMs[name] ?? 0)]);
  return table(
    ['CPU time per request, ms', ...levels.map((level) => `${level} in flight`)],
    [
      ...rows,
      ['**all, by the network**', ...cells('network', cpuTotalMs)],
      ['**client, backend and relay, by the relay**', ...cells('relay', cpuOfRelayMs)],
    ],
  );
}

/** What open streams cost, as Markdown. */
export function renderOpenStreams(cost: OpenStreamsCost, measuredOn: string): string {
  const streams = cost.slow.streams.toLocaleString('en-US');
  return [
    `### ${streams} open streams on one gateway`,
    '',
    memoryTable(cost),
    '',
    'Heap and external memory are those after a collection; RSS also has what was freed and not ' +
      'given back yet. Per stream: the last level less the first, by the streams between them.',
    '',
    cpuShares(cost),
    '',
    measuredOn,
  ].join('\n');
}

const KINDS = [
  ['rssBytes', 'RSS'],
  ['heapBytes', 'heap'],
  ['externalBytes', 'external'],
] as const;

function memoryTable({ levels, ended }: OpenStreamsCost): string {
  const cells = (memory: Readonly<Record<Holder, Memory>>) =>
    HOLDERS.flatMap((holder) => KINDS.map(([key]) => mebibytes(memory[holder][key])));
  const perStream = HOLDERS.flatMap((holder) =>
    KINDS.map(([key]) => {
      const kibibytes = bytesPerStream(levels, (level) => level.memory[holder][key]) / 1_024;
      return `**${kibibytes.toFixed(1)} KiB**`;
    }),
  );
  const titles = HOLDERS.flatMap((holder) => KINDS.map(([, kind]) => `${holder}, ${kind}`));
  return table(
    ['open streams', ...titles],
    [
      ...levels.map(({ streams, memory }) => [String(streams), ...cells(memory)]),
      ['all ended', ...cells(ended)],
      ['**per stream**', ...perStream],
    ],
  );
}

/** How memory grows with streams: what is there without any isn't counted. */
function bytesPerStream(
  levels: OpenStreamsCost['levels'],
  of: (level: OpenStreamsCost['levels'][number]) => number,
): number {
  const [first, last] = [levels[0], levels.at(-1)];
  if (!first || !last || first === last) return Number.NaN;
  return (of(last) - of(first)) / (last.streams - first.streams);
}

function cpuShares({ none, idle, slow }: OpenStreamsCost): string {
  const percent = (share = 0) => `${(100 * share).toFixed(1)} %`;
  const rows = Object.keys(slow.cpuShare).map((name) => {
    const [ofNone, ofIdle, ofSlow] = [none, idle, slow].map(({ cpuShare }) => cpuShare[name] ?? 0);
    const perToken = (1_000 * ((ofSlow ?? 0) - (ofIdle ?? 0))) / slow.tokensPerSecond;
    return [name, percent(ofNone), percent(ofIdle), percent(ofSlow), `${perToken.toFixed(2)} ms`];
  });
  const tokens = `${slow.tokensPerSecond.toFixed(0)} tokens a second in all`;
  return table(
    ['CPU, of a core', 'no streams', 'open and idle', `open, with ${tokens}`, 'per token'],
    rows.filter(([name]) => name !== 'relay'),
  );
}

/** The repetitions of one way at one level, in the order in which they were measured. */
function runsOf(runs: readonly AddedRun[], target: Target, inFlight: number): AddedRun[] {
  return runs.filter((run) => run.target === target && run.inFlight === inFlight);
}

/** Of those in its way; the network runs beside it, with nothing to do. */
function cpuOfRelayMs({ cpuMs }: AddedRun): number {
  return ['client', 'backend', 'relay'].reduce((sum, name) => sum + (cpuMs[name] ?? 0), 0);
}

function cpuTotalMs({ cpuMs }: AddedRun): number {
  return Object.values(cpuMs).reduce((sum, ms) => sum + ms, 0);
}

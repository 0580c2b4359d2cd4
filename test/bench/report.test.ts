import assert from 'node:assert/strict';
import type { Run } from '../../bench/measure.ts';
import { plotRuns } from '../../bench/plot.ts';
import { renderFindings, renderFootprints } from '../../bench/report.ts';
import { SCENARIOS } from '../../bench/scenarios.ts';

/** Two repetitions at two levels, in which the full path is half as fast as the fair floor. */
const RUNS: readonly Run[] = [1, 16].flatMap((inFlight) =>
  [1, 2].flatMap((repetition) =>
    SCENARIOS.map((scenario) => ({
      scenario,
      inFlight,
      requests: 100,
      requestsPerSecond: { plain: 60, rsa: 40, direct: 25, full: 20 }[scenario] * repetition,
      p50Ms: { plain: 10, rsa: 20, direct: 24, full: 30 }[scenario] / repetition,
      p95Ms: { plain: 20, rsa: 40, direct: 48, full: 60 }[scenario] / repetition,
      p99Ms: 100,
      cpuMs: { coordinator: scenario === 'full' ? 9 : 0, Temporal: 3 },
    })),
  ),
);

const FINDINGS = {
  runs: RUNS,
  statements: {
    requests: 100,
    roundTripsPerRequest: 8.04,
    innerPerRequest: 12,
    backgroundPerSecond: 6,
    statements: [
      { text: 'SELECT 1 | 2', calls: 100, totalMs: 50, isRoundTrip: true },
      { text: 'SELECT rare', calls: 3, totalMs: 50, isRoundTrip: true },
      { text: 'SELECT inner', calls: 900, totalMs: 50, isRoundTrip: false },
    ],
  },
  waiting: { freeMs: [40, 80], handedMs: [60, 120] },
  reservations: [
    { nodes: 100, medianMs: [1, 2] },
    { nodes: 10_000, medianMs: [1.1, 2.2] },
  ],
  floods: { quiet: [20, 40], handshakes: [10, 20], polls: [15, 30] },
  pollers: {
    pollers: 1_000,
    without: { rssBytes: 100 * 2 ** 20, cpuShare: 0 },
    with: { rssBytes: 200 * 2 ** 20, cpuShare: 0.0213 },
  },
  historyEvents: { plain: 11, rsa: 11, direct: 16, full: 16 },
  environment: [['processor', 'one of some kind']] as const,
  plotPath: 'images/performance.svg',
};

describe('bench/report', () => {
  it('tells ratios first, of runs that were measured together', () => {
    const lines = renderFindings(FINDINGS).split('\n');
    assert.equal(lines[0], '### Full path by fair floor');
    // Twice the speed in the second repetition, for both: the ratio is the same.
    const half = '**0.50** (0.50–0.50)';
    const row = `| 1 | ${half} | **1.50** (1.50–1.50) | **1.50** (1.50–1.50) |`;
    assert.ok(
      lines.some((line) => line.startsWith(row)),
      lines.slice(0, 8).join('\n'),
    );
  });

  it('tells what the edge costs', () => {
    const lines = renderFindings(FINDINGS).split('\n');
    const title = lines.findIndex((line) => line.startsWith('### What the edge costs'));
    assert.ok(title > 0);
    const row = '| 1 | **0.80** (0.80–0.80) | **1.25** (1.25–1.25) | **1.25** (1.25–1.25) |';
    assert.ok(lines.slice(title, title + 6).some((line) => line.startsWith(row)));
  });

  it('tells CPU time by process, and its sum', () => {
    const report = renderFindings(FINDINGS);
    assert.match(report, /\| coordinator \| \*\*0\.0\*\* .* \| \*\*9\.0\*\* \(9\.0–9\.0\) \|/);
    assert.match(report, /\| \*\*all\*\* \| \*\*3\.0\*\* .* \| \*\*12\.0\*\* \(12\.0–12\.0\) \|/);
  });

  it('tells what waiting and a large pool cost, by what was measured in turns', () => {
    const report = renderFindings(FINDINGS);
    assert.match(report, /\| a slot handed .* \| \*\*1\.50\*\* \(1\.50–1\.50\) \|/);
    assert.match(
      report,
      /\| a reservation among 10000 nodes, .* \| \*\*1\.10\*\* \(1\.10–1\.10\) \|/,
    );
  });

  it('tells events and statements, those of every request one by one', () => {
    const report = renderFindings(FINDINGS);
    assert.match(report, /history events, a request through .* \| 16 \|/);
    assert.match(report, /SQL statements sent, full path \| 8\.0 \|/);
    assert.match(report, /`SELECT 1 \\\| 2…` \| 1\.00 × 0\.50 ms/);
    assert.doesNotMatch(report, /SELECT rare|SELECT inner/);
  });

  it('tells what floods leave to honest traffic', () => {
    const report = renderFindings(FINDINGS);
    assert.match(report, /\| 500 TLS handshakes a second \| \*\*0\.50\*\* \(0\.50–0\.50\) \|/);
    assert.match(report, /\| 1,000 polls a second \| \*\*0\.75\*\* \(0\.75–0\.75\) \|/);
  });

  it('tells what idle nodes cost an edge', () => {
    const report = renderFindings(FINDINGS);
    assert.match(report, /\| no nodes \| 100 MiB \| 0\.0 % of a core \|/);
    assert.match(report, /\| 1000 connected nodes that poll \| 200 MiB \| 2\.1 % of a core \|/);
    assert.match(report, /^That is 102 KiB a node\.$/m);
  });

  it('tells start and memory of the whole network, and of each process', () => {
    const footprint = (readySeconds: number) => ({
      readySeconds,
      rssBytes: 2_048 * 2 ** 20,
      pssBytes: null,
      perProcess: [{ pid: 1, name: 'gateway', rssBytes: 190 * 2 ** 20, pssBytes: 2 ** 27 }],
    });
    const report = renderFootprints([footprint(21), footprint(7.46)]);
    assert.match(report, /\| ready .* \| \*\*21\.0 s\*\* \(missed\) \| \*\*7\.5 s\*\* \|/);
    assert.match(report, /\| \*\*2048 MiB\*\*, unknown \| \*\*2048 MiB\*\*, unknown \|/);
    assert.match(report, /\| gateway \| +\| 190 MiB, 128 MiB \|/);
  });

  it('draws every level and scenario', async () => {
    const svg = await plotRuns(RUNS);
    assert.match(svg, /^<svg /);
    for (const text of ['requests per second', 'p50 in ms', 'fair floor', 'in flight'])
      assert.ok(svg.includes(text), text);
    // Points of four scenarios at two levels in two panels.
    assert.equal(svg.match(/aria-roledescription="point"/g)?.length, 16);
  });
});

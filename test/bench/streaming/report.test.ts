import assert from 'node:assert/strict';
import type { AddedRun } from '../../../bench/streaming/added.ts';
import type { Target } from '../../../bench/streaming/client.ts';
import type { OpenStreamsCost } from '../../../bench/streaming/open-streams.ts';
import { renderAdded, renderOpenStreams } from '../../../bench/streaming/report.ts';

const PACE = { tokens: 64, firstTokenMs: 100, tokenMs: 25 };
const ON = 'Measured on: some machine.';

/** The second repetition is slower by 10 ms for all ways alike. */
function run(target: Target, repetition: number): AddedRun {
  const slower = 10 * repetition;
  const firstTokenP50Ms = { backend: 100, relay: 102, network: 170 }[target] + slower;
  const totalP50Ms = { backend: 1_690, relay: 1_700, network: 1_859 }[target] + slower;
  return {
    target,
    inFlight: 16,
    requests: 80,
    requestsPerSecond: { backend: 10, relay: 8, network: 4 }[target],
    firstTokenP50Ms,
    firstTokenP95Ms: firstTokenP50Ms + 5,
    totalP50Ms,
    totalP95Ms: totalP50Ms + 5,
    // The gateway has work of its own, also while nobody uses it.
    cpuMs: { client: 1, relay: target === 'relay' ? 3 : 0, gateway: target === 'network' ? 20 : 2 },
  };
}

const RUNS = [0, 1].flatMap((repetition) =>
  (['backend', 'relay', 'network'] as const).map((target) => run(target, repetition)),
);

const MIB = 2 ** 20;
const level = (streams: number) => ({
  streams,
  memory: {
    gateway: { rssBytes: 100 * MIB + streams * 40_960, heapBytes: 40 * MIB, externalBytes: MIB },
    coordinator: { rssBytes: 300 * MIB, heapBytes: 80 * MIB + streams * 1_024, externalBytes: MIB },
  },
});

const OPEN: OpenStreamsCost = {
  levels: [level(250), level(1_000)],
  ended: level(0).memory,
  none: { streams: 0, tokensPerSecond: 0, cpuShare: { gateway: 0, relay: 0, coordinator: 0.03 } },
  idle: {
    streams: 1_000,
    tokensPerSecond: 0,
    cpuShare: { gateway: 0.01, relay: 0, coordinator: 0.05 },
  },
  slow: {
    streams: 1_000,
    tokensPerSecond: 100,
    cpuShare: { gateway: 0.06, relay: 0, coordinator: 0.1 },
  },
};

describe('bench/streaming/report', () => {
  it('tells what the network adds by runs that were made in turns', () => {
    const report = renderAdded(RUNS, PACE, ON);
    // What slowed a whole repetition isn't in the difference.
    const added = '**70** (70–70) | **68** (68–68)';
    assert.ok(report.includes(`| 16 | first token, p50 | **100** (100–110) |`), report);
    assert.ok(report.includes(`**170** (170–180) | ${added} | **1.64** (1.64–1.70) |`), report);
    assert.ok(report.includes('| 16 | whole answer, p95 |'));
    assert.match(report, /^### Time added to a streaming request of 64 tokens$/m);
  });

  it('tells rates, and CPU time of the network beside that of the relay', () => {
    const report = renderAdded(RUNS, PACE, ON);
    assert.match(report, /\| \*\*4\.0\*\* \(4\.0–4\.0\) \| \*\*0\.50\*\* \(0\.50–0\.50\) \|/);
    assert.match(report, /\| gateway \| \*\*20\.0\*\* \(20\.0–20\.0\) \|/);
    assert.match(report, /\| \*\*all, by the network\*\* \| \*\*21\.0\*\* /);
    assert.match(report, /\| \*\*client, backend and relay, by the relay\*\* \| \*\*4\.0\*\* /);
    assert.doesNotMatch(report, /^\| relay \|/m);
  });

  it('tells memory per stream by how it grows, not by what is there anyway', () => {
    const report = renderOpenStreams(OPEN, ON);
    assert.match(report, /^### 1,000 open streams on one gateway$/m);
    const row = [40, 0, 0, 0, 1, 0].map((kibibytes) => `**${kibibytes.toFixed(1)} KiB**`);
    assert.ok(report.includes(`| **per stream** | ${row.join(' | ')} |`), report);
    assert.ok(report.includes('| all ended | 100 MiB | 40 MiB | 1 MiB | 300 MiB |'), report);
  });

  it('tells CPU shares, and by their growth what a token costs', () => {
    const report = renderOpenStreams(OPEN, ON);
    assert.ok(report.includes('| gateway | 0.0 % | 1.0 % | 6.0 % | 0.50 ms |'), report);
    assert.ok(report.includes('| coordinator | 3.0 % | 5.0 % | 10.0 % | 0.50 ms |'), report);
    assert.match(report, /open, with 100 tokens a second in all/);
    assert.ok(report.endsWith(ON));
  });
});

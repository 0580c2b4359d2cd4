import { OVERTAKE_SECONDS_MAX } from '../../protocol/schedule.ts';
import type { Fragmentation } from './fragmentation.ts';
import type { Overtaking } from './overtaking.ts';
import type { Waits } from './waits.ts';

export interface Results {
  readonly nodes: number;
  readonly simulatedSeconds: number;
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
  readonly waits: Waits;
  readonly overtaking: Overtaking;
  readonly fragmentation: Fragmentation;
}

const WIDTHS = [10, 10, 9, 9, 9, 9, 9] as const;

/** The last line is the figure. */
export function renderResults(results: Results): string {
  const { nodes, wallSeconds, waits, overtaking, fragmentation } = results;
  const { completed, failed, elapsed } = waits.outcomes;
  const units = completed + failed + elapsed;
  const rate = whole(waits.assignments / wallSeconds);
  const cpuRate = whole(waits.assignments / results.cpuSeconds);
  const shares = [fragmentation.largerTierShare, fragmentation.blockingShare].map(percent);
  return [
    `Seconds from acceptance to a node, or to the deadline ` +
      `(${whole(results.simulatedSeconds)} s simulated)`,
    row(['', 'units', 'p50', 'p95', 'p99', 'max', 'elapsed']),
    ...waits
      .byClass()
      .map(({ name, units, percentiles, elapsed }) =>
        row([name, whole(units), ...percentiles.map(tenths), percent(elapsed / units)]),
      ),
    '',
    `Ends           ${whole(completed)} completed, ${whole(elapsed)} elapsed, ` +
      `${whole(failed)} failed`,
    `Waiting        ${whole(waits.waitingMax)} at a time, at most`,
    `Speed          ${rate} assignments/s, ${cpuRate} per second of CPU time, with the checks`,
    `Fragmentation  ${shares[0]} of assignments to a larger tier than the smallest that could ` +
      'have served',
    `               ${shares[1]} of busy slot time held so while a unit waited that needs the ` +
      'larger tier',
    `Overtaking     a unit passed one accepted ${overtaking.largestSeconds.toFixed(1)} s before ` +
      `it, at most; the bound is ${OVERTAKE_SECONDS_MAX} s`,
    '',
    `${whole(units)} units on ${whole(nodes)} nodes: ${rate} assignments/s, ` +
      `${whole(overtaking.starved)} starved`,
  ].join('\n');
}

function row(cells: readonly string[]): string {
  const padded = cells.map((cell, index) =>
    index === 0 ? cell.padEnd(WIDTHS[0]) : cell.padStart(WIDTHS[index] ?? 0),
  );
  return padded.join(' ').trimEnd();
}

/** With separators, as people read them. */
export function whole(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

function tenths(value: number): string {
  return value.toFixed(1);
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

import { parseArgs } from 'node:util';
import { runWithOptions } from '../run-with-options.ts';
import { Fragmentation } from './fragmentation.ts';
import { Overtaking } from './overtaking.ts';
import { renderResults, whole } from './report.ts';
import { IndexedScheduler } from './scheduler.ts';
import { Simulation } from './simulation.ts';
import { Waits } from './waits.ts';
import { makeNodes, makeUnits } from './workload.ts';

const HELP = `Usage: npm run sim:schedule -- [options]

Simulates a pool under bursts, with the functions that decide in the coordinator
(protocol/schedule.ts), and checks each assignment: no unit that waits and fits the node is passed
by one accepted more than the promised bound later. Starts no server. Exits with 1 if one starved.

Options
  --nodes N          10000
  --units N          1000000
  --load X           1.05: work that comes by work that the pool can do, over the whole time; in
                     bursts half as much again, otherwise three quarters of it
  --failure-rate X   0: the share of attempts that lose their node and are dispatched again
  --seed N           1: the same seed gives the same simulation
  --help             show this text
`;

const EVENTS_PER_TURN = 5_000;
const PROGRESS_MS = 2_000;

const say = (line: string) => void process.stdout.write(`${line}\n`);

interface Options {
  readonly nodes: number;
  readonly units: number;
  readonly load: number;
  readonly failureRate: number;
  readonly seed: number;
}

/** @returns null for --help. @throws RangeError or TypeError for what makes no sense. */
function readOptions(): Options | null {
  const { values } = parseArgs({
    options: {
      nodes: { type: 'string', default: '10000' },
      units: { type: 'string', default: '1000000' },
      load: { type: 'string', default: '1.05' },
      'failure-rate': { type: 'string', default: '0' },
      seed: { type: 'string', default: '1' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return null;
  const number = (name: keyof typeof values, isValid: (value: number) => boolean) => {
    const value = Number(values[name]);
    if (values[name] === '' || !isValid(value))
      throw new RangeError(`--${name} can't be ${String(values[name])}`);
    return value;
  };
  const isCount = (value: number) => Number.isSafeInteger(value) && value > 0;
  return {
    nodes: number('nodes', isCount),
    units: number('units', isCount),
    load: number('load', (value) => value > 0 && Number.isFinite(value)),
    failureRate: number('failure-rate', (value) => value >= 0 && value <= 1),
    seed: number('seed', Number.isSafeInteger),
  };
}

function simulate(options: Options): number {
  const nodes = makeNodes(options);
  const waits = new Waits();
  const overtaking = new Overtaking();
  const fragmentation = new Fragmentation();
  const simulation = new Simulation({
    units: makeUnits(options, nodes),
    scheduler: new IndexedScheduler(nodes),
    observers: [waits, overtaking, fragmentation],
    seed: options.seed,
    failureRate: options.failureRate,
  });
  const startedAt = performance.now();
  const cpuBefore = process.cpuUsage();
  let saidAt = startedAt;
  while (simulation.run(EVENTS_PER_TURN)) {
    const now = performance.now();
    if (now - saidAt < PROGRESS_MS) continue;
    saidAt = now;
    say(
      `${whole((now - startedAt) / 1_000).padStart(4)} s  ${whole(waits.begun)} units begun, ` +
        `${whole(simulation.waiting)} wait, ${whole(simulation.nowMs / 1_000)} s simulated`,
    );
  }
  const { user, system } = process.cpuUsage(cpuBefore);
  const wallSeconds = (performance.now() - startedAt) / 1_000;
  const { completed, failed, elapsed } = waits.outcomes;
  if (completed + failed + elapsed !== options.units)
    throw new Error(`${options.units} units came, ${completed + failed + elapsed} have ended`);
  if (nodes.some(({ slots, freeSlots }) => slots !== freeSlots))
    throw new Error('a slot did not come back');
  const results = {
    nodes: nodes.length,
    simulatedSeconds: simulation.nowMs / 1_000,
    wallSeconds,
    cpuSeconds: (user + system) / 1e6,
    waits,
    overtaking,
    fragmentation,
  };
  say(`
${renderResults(results)}`);
  return overtaking.starved > 0 ? 1 : 0;
}

process.exitCode = await runWithOptions({
  script: 'sim:schedule',
  help: HELP,
  readOptions,
  run: simulate,
});

import type { Cluster } from './cluster.ts';
import { cpuSeconds } from './processes.ts';
import { runScenario, SCENARIOS, type Scenario } from './scenarios.ts';
import { countStatements, type StatementCount } from './statements.ts';
import { percentile } from './statistics.ts';

/** One run of one scenario. */
export interface Run {
  readonly scenario: Scenario;
  readonly inFlight: number;
  readonly requests: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  /** CPU time per request, by process, in milliseconds. */
  readonly cpuMs: Readonly<Record<string, number>>;
}

/** The repetitions of one scenario at one level, in the order in which they were measured. */
export function runsOf(runs: readonly Run[], scenario: Scenario, inFlight: number): Run[] {
  return runs.filter((run) => run.scenario === scenario && run.inFlight === inFlight);
}

/** The levels that were measured, ascending. */
export function levelsOf(runs: readonly Pick<Run, 'inFlight'>[]): number[] {
  return [...new Set(runs.map(({ inFlight }) => inFlight))].toSorted((a, b) => a - b);
}

/** How much is measured. */
export interface Plan {
  readonly inFlightLevels: readonly number[];
  readonly repetitions: number;
  readonly secondsPerRun: number;
  /** Before anything is measured, each scenario runs for so long at 16 in flight. */
  readonly warmUpSeconds: number;
  /** Idle nodes that are connected to one edge. */
  readonly pollers: number;
}

/**
 * Measures all scenarios, alternating, so that what else the machine does meets all of them; from
 * one repetition to the next another one comes first.
 *
 * @param say gets one line for people per run.
 */
export async function measureAll(
  cluster: Cluster,
  plan: Plan,
  say: (line: string) => void,
): Promise<Run[]> {
  for (const scenario of SCENARIOS)
    await runScenario(cluster, scenario, { inFlight: 16, seconds: plan.warmUpSeconds });
  const runs: Run[] = [];
  for (const inFlight of plan.inFlightLevels)
    for (let repetition = 0; repetition < plan.repetitions; repetition++)
      for (let turn = 0; turn < SCENARIOS.length; turn++) {
        const scenario = SCENARIOS[(repetition + turn) % SCENARIOS.length];
        if (!scenario) continue;
        const run = await measureOnce(cluster, scenario, inFlight, plan.secondsPerRun);
        runs.push(run);
        say(
          `${inFlight} in flight, ${repetition + 1} of ${plan.repetitions}, ` +
            `${scenario.padEnd(6)} ${run.requestsPerSecond.toFixed(1)} requests/s, ` +
            `p50 ${run.p50Ms.toFixed(0)} ms`,
        );
      }
  return runs;
}

async function measureOnce(
  cluster: Cluster,
  scenario: Scenario,
  inFlight: number,
  seconds: number,
): Promise<Run> {
  const before = await cpuSeconds(cluster.pids);
  const clientBefore = process.cpuUsage();
  const { latenciesMs, elapsedSeconds } = await runScenario(cluster, scenario, {
    inFlight,
    seconds,
  });
  const client = process.cpuUsage(clientBefore);
  const after = await cpuSeconds(cluster.pids);
  const requests = latenciesMs.length;
  const cpuMs = Object.keys(after).map((name) => {
    const used = (after[name] ?? 0) - (before[name] ?? 0);
    return [name, (used * 1_000) / requests] as const;
  });
  return {
    scenario,
    inFlight,
    requests,
    requestsPerSecond: requests / elapsedSeconds,
    p50Ms: percentile(latenciesMs, 50),
    p95Ms: percentile(latenciesMs, 95),
    p99Ms: percentile(latenciesMs, 99),
    cpuMs: {
      client: (client.user + client.system) / 1_000 / requests,
      ...Object.fromEntries(cpuMs),
    },
  };
}

/** SQL per request of the full path; `background` is what the network does with nothing to do. */
export interface StatementUse {
  readonly requests: number;
  readonly roundTripsPerRequest: number;
  /** Run by functions and triggers, besides. */
  readonly innerPerRequest: number;
  readonly backgroundPerSecond: number;
  readonly statements: readonly StatementCount[];
}

/** Counts the statements of the full path, less those that come with time alone. */
export async function measureStatements(cluster: Cluster, seconds: number): Promise<StatementUse> {
  const counter = await countStatements(cluster.databaseUrl);
  try {
    await counter.reset();
    await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
    const idle = roundTrips(await counter.read()) / seconds;
    await counter.reset();
    const { latenciesMs, elapsedSeconds } = await runScenario(cluster, 'full', {
      inFlight: 16,
      seconds,
    });
    const statements = await counter.read();
    const requests = latenciesMs.length;
    return {
      requests,
      roundTripsPerRequest: (roundTrips(statements) - idle * elapsedSeconds) / requests,
      innerPerRequest: calls(statements.filter(({ isRoundTrip }) => !isRoundTrip)) / requests,
      backgroundPerSecond: idle,
      statements,
    };
  } finally {
    await counter.close();
  }
}

function roundTrips(statements: readonly StatementCount[]): number {
  return calls(statements.filter(({ isRoundTrip }) => isRoundTrip));
}

function calls(statements: readonly StatementCount[]): number {
  return statements.reduce((sum, statement) => sum + statement.calls, 0);
}

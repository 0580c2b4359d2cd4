import { closedLoop } from '../load.ts';
import { cpuSeconds } from '../processes.ts';
import { percentile } from '../statistics.ts';
import { streamOnce, TARGETS, type Target } from './client.ts';
import type { StreamingCluster } from './cluster.ts';

/** One run of streaming requests by one way. */
export interface AddedRun {
  readonly target: Target;
  readonly inFlight: number;
  readonly requests: number;
  readonly requestsPerSecond: number;
  readonly firstTokenP50Ms: number;
  readonly firstTokenP95Ms: number;
  readonly totalP50Ms: number;
  readonly totalP95Ms: number;
  /** CPU time per request, by process, in milliseconds. */
  readonly cpuMs: Readonly<Record<string, number>>;
}

/** What each request asks for, and how the backend answers it. */
export interface Pace {
  readonly tokens: number;
  readonly firstTokenMs: number;
  readonly tokenMs: number;
}

export interface AddedPlan {
  readonly inFlightLevels: readonly number[];
  readonly repetitions: number;
  readonly secondsPerRun: number;
  /** Before anything is measured, each way is used for so long, by 16 at once. */
  readonly warmUpSeconds: number;
  readonly pace: Pace;
}

const PROMPT = 'one two three four five six seven eight';

/**
 * Measures the ways to one backend in turns, so that what else the machine does meets all of them;
 * from one repetition to the next another one comes first.
 *
 * @param say gets one line for people per run.
 */
export async function measureAdded(
  cluster: StreamingCluster,
  plan: AddedPlan,
  say: (line: string) => void,
): Promise<AddedRun[]> {
  const { tokens } = plan.pace;
  for (const target of TARGETS)
    await runOnce(cluster, target, tokens, { inFlight: 16, seconds: plan.warmUpSeconds });
  const runs: AddedRun[] = [];
  for (const inFlight of plan.inFlightLevels)
    for (let repetition = 0; repetition < plan.repetitions; repetition++)
      for (let turn = 0; turn < TARGETS.length; turn++) {
        const target = TARGETS[(repetition + turn) % TARGETS.length] ?? 'backend';
        const load = { inFlight, seconds: plan.secondsPerRun };
        const run = await runOnce(cluster, target, tokens, load);
        runs.push(run);
        say(
          `${inFlight} in flight, ${repetition + 1} of ${plan.repetitions}, ` +
            `${target.padEnd(7)} first token ${run.firstTokenP50Ms.toFixed(0)} ms, ` +
            `whole answer ${run.totalP50Ms.toFixed(0)} ms`,
        );
      }
  return runs;
}

async function runOnce(
  cluster: StreamingCluster,
  target: Target,
  tokens: number,
  load: { readonly inFlight: number; readonly seconds: number },
): Promise<AddedRun> {
  const firstTokenMs: number[] = [];
  const totalMs: number[] = [];
  const before = await cpuSeconds(cluster.pids);
  const clientBefore = process.cpuUsage();
  const { elapsedSeconds } = await closedLoop(load, async () => {
    const streamed = await streamOnce(cluster, target, { prompt: PROMPT, maxTokens: tokens });
    firstTokenMs.push(streamed.firstTokenMs);
    totalMs.push(streamed.totalMs);
  });
  const client = process.cpuUsage(clientBefore);
  const after = await cpuSeconds(cluster.pids);
  const requests = totalMs.length;
  const cpuMs = Object.keys(after).map((name) => {
    const used = (after[name] ?? 0) - (before[name] ?? 0);
    return [name, (used * 1_000) / requests] as const;
  });
  return {
    target,
    inFlight: load.inFlight,
    requests,
    requestsPerSecond: requests / elapsedSeconds,
    firstTokenP50Ms: percentile(firstTokenMs, 50),
    firstTokenP95Ms: percentile(firstTokenMs, 95),
    totalP50Ms: percentile(totalMs, 50),
    totalP95Ms: percentile(totalMs, 95),
    cpuMs: {
      client: (client.user + client.system) / 1_000 / requests,
      ...Object.fromEntries(cpuMs),
    },
  };
}

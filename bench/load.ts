/** One closed-loop run: so many calls in flight, each replaced when it ends. */
export interface LoadOptions {
  /** Calls in flight. */
  readonly inFlight: number;
  /** How long calls are begun, one for each place at least; those under way are waited for. */
  readonly seconds: number;
}

/** What a run measured. Latencies in milliseconds, in the order in which calls ended. */
export interface LoadResult {
  readonly latenciesMs: readonly number[];
  readonly elapsedSeconds: number;
}

/**
 * Keeps `inFlight` calls of `one` going for `seconds`. A call that fails ends the run: a benchmark
 * of failures says nothing.
 *
 * @throws whatever `one` throws first.
 */
export async function closedLoop(
  { inFlight, seconds }: LoadOptions,
  one: () => Promise<unknown>,
): Promise<LoadResult> {
  const latenciesMs: number[] = [];
  const startedAt = performance.now();
  const untilMs = startedAt + seconds * 1_000;
  const lane = async () => {
    do {
      const calledAt = performance.now();
      await one();
      latenciesMs.push(performance.now() - calledAt);
    } while (performance.now() < untilMs);
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  return { latenciesMs, elapsedSeconds: (performance.now() - startedAt) / 1_000 };
}

/** How many standard errors a simulated value may be off: by chance, once in 16,000 times. */
export const STANDARD_ERRORS_MAX = 4;

/** One value, simulated and by its closed form. */
export interface Comparison {
  readonly name: string;
  readonly expected: number;
  readonly simulated: number;
  readonly standardError: number;
}

/** Whether the simulation reproduces the closed form within its error. */
export function isReproduced({ expected, simulated, standardError }: Comparison): boolean {
  // Rounding, where nothing is left to chance: one who always lies is removed after 3 checks.
  const rounding = 1e-9 * Math.abs(expected);
  return Math.abs(simulated - expected) <= STANDARD_ERRORS_MAX * standardError + rounding;
}

/** Compares how often something happens with its probability. */
export function compareShare(
  name: string,
  expected: number,
  runs: number,
  happens: () => boolean,
): Comparison {
  let count = 0;
  for (let run = 0; run < runs; run++) if (happens()) count++;
  return shareOf(name, expected, count, runs);
}

/** Compares a share that was counted with its probability; its error is that of the closed form. */
export function shareOf(name: string, expected: number, count: number, runs: number): Comparison {
  const standardError = Math.sqrt((expected * (1 - expected)) / runs);
  return { name, expected, simulated: count / runs, standardError };
}

/** Compares an average; its error is estimated from the values. */
export function compareMean(
  name: string,
  expected: number,
  runs: number,
  draw: () => number,
): Comparison {
  const values = Array.from({ length: runs }, draw);
  const simulated = values.reduce((sum, value) => sum + value, 0) / runs;
  const squares = values.reduce((sum, value) => sum + (value - simulated) ** 2, 0);
  return { name, expected, simulated, standardError: Math.sqrt(squares / (runs - 1) / runs) };
}

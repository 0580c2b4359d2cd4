import { isReproduced, STANDARD_ERRORS_MAX, type Comparison } from './comparison.ts';

/** The last line is the figure. */
export function renderComparisons(comparisons: readonly Comparison[]): string {
  const wrong = comparisons.filter((comparison) => !isReproduced(comparison)).length;
  const width = Math.max(...comparisons.map(({ name }) => name.length));
  const row = (cells: readonly string[]) =>
    [(cells[0] ?? '').padEnd(width), ...cells.slice(1).map((cell) => cell.padStart(11))]
      .join(' ')
      .trimEnd();
  return [
    row(['', 'closed form', 'simulated', `± ${STANDARD_ERRORS_MAX} errors`]),
    ...comparisons.map((comparison) =>
      row([
        comparison.name,
        figure(comparison.expected),
        figure(comparison.simulated),
        figure(STANDARD_ERRORS_MAX * comparison.standardError),
        isReproduced(comparison) ? '' : 'WRONG',
      ]),
    ),
    '',
    `${comparisons.length} values simulated, ` +
      `${wrong} more than ${STANDARD_ERRORS_MAX} standard errors off their closed form`,
  ].join('\n');
}

function figure(value: number): string {
  return value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(2) : value.toFixed(4);
}

import { spread } from './statistics.ts';

/** A Markdown table. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** Median and min–max of repetitions. */
export function range(values: readonly number[], digits: number): string {
  const { min, median, max } = spread(values);
  const [low, middle, high] = [min, median, max].map((value) => value.toFixed(digits));
  return `**${middle}** (${low}–${high})`;
}

export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}

import type { Fixture } from './fixtures.ts';
import { totalRate, upperBound, type Rate } from './rates.ts';

/** The lines in docs/comparators.md that the tables are between. */
export const MARKS = { begin: '<!-- rates: begin -->', end: '<!-- rates: end -->' } as const;

/** The rates of all fixtures, as Markdown. */
export function renderRates(fixtures: readonly Fixture<unknown>[]): string {
  return fixtures.map(renderFixture).join('\n\n');
}

function renderFixture({ comparator, version, made, rates }: Fixture<unknown>): string {
  const rows = [true, false].flatMap((isHonest) => [
    ...rates.filter((rate) => rate.isHonest === isHonest).map((rate) => row(rate, made[rate.kind])),
    row(totalRate(rates, isHonest), ''),
  ]);
  return [
    `### \`${comparator}\` version ${version}`,
    '',
    '| second result | how it came about | pairs | errors | rate | at most |',
    '| --- | --- | --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
}

function row(rate: Rate, made = ''): string {
  const { kind, isHonest, pairs, errors } = rate;
  const name = `${isHonest ? 'honest' : 'wrong'}: ${kind}`;
  const cells = [name, made, pairs, errors, percent(errors / pairs), percent(upperBound(rate))];
  const isTotal = made === '';
  return `| ${cells.map((cell) => (isTotal && cell !== '' ? `**${cell}**` : cell)).join(' | ')} |`;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

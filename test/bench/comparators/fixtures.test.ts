import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { format, resolveConfig } from 'prettier';
import {
  fixturePath,
  MADE,
  MAKE_DATA,
  ratesOf,
  type Fixture,
} from '../../../bench/comparators/fixtures.ts';
import { MARKS, renderRates } from '../../../bench/comparators/report.ts';
import { totalRate, upperBound } from '../../../bench/comparators/rates.ts';
import type { ComparatorName } from '../../../protocol/compare/comparator.ts';
import { CURRENT_VERSIONS } from '../../../protocol/compare/comparators.ts';

const NAMES = Object.keys(CURRENT_VERSIONS) as ComparatorName[];
/** What a check is told by: at most this share of honest pairs may cause a third dispatch. */
const FALSE_ALARMS_MAX = 0.02;
/** Of wrong pairs, where not even the smallest changes are among them. */
const MISSES_MAX = 0.15;
/** Kinds whose smallest changes are within the tolerance. */
const GRADED = new Set(['one number changed', 'small region replaced', 'noise', 'darker']);
const GRADED_MISSES_MAX = 0.45;

async function read(name: ComparatorName): Promise<Fixture<never>> {
  return JSON.parse(await readFile(fixturePath(name), 'utf8')) as Fixture<never>;
}

describe('the fixtures of the comparators', () => {
  for (const name of NAMES) {
    it(`${name}: its rates are those recorded, and within bounds`, async () => {
      const fixture = await read(name);
      assert.deepEqual([fixture.comparator, fixture.version], [name, CURRENT_VERSIONS[name]]);
      const rates = ratesOf(name, fixture.version, fixture.data);
      assert.deepEqual(rates, fixture.rates);
      const honest = totalRate(rates, true);
      assert.ok(honest.pairs >= 200, `${honest.pairs} honest pairs`);
      assert.ok(upperBound(honest) <= FALSE_ALARMS_MAX, `${upperBound(honest)}`);
      for (const rate of rates.filter(({ isHonest }) => !isHonest)) {
        const limit = GRADED.has(rate.kind) ? GRADED_MISSES_MAX : MISSES_MAX;
        assert.ok(rate.pairs >= 20 && upperBound(rate) <= limit, JSON.stringify(rate));
      }
    });

    it(`${name}: says of each kind how it was made`, async () => {
      const { made, rates } = await read(name);
      assert.deepEqual(made, MADE[name]);
      assert.deepEqual(Object.keys(made).toSorted(), rates.map(({ kind }) => kind).toSorted());
    });
  }

  it('are made again from the same seeds', async () => {
    for (const name of ['exact', 'image'] as const)
      assert.deepEqual(MAKE_DATA[name](), (await read(name)).data, name);
  });

  it('are told in docs/comparators.md', async () => {
    const path = 'docs/comparators.md';
    const text = await readFile(path, 'utf8');
    const [before, rest = ''] = text.split(MARKS.begin);
    const after = rest.split(MARKS.end)[1];
    const report = renderRates(await Promise.all(NAMES.map(read)));
    const expected = `${before}${MARKS.begin}\n\n${report}\n\n${MARKS.end}${after}`;
    const options = await resolveConfig(path);
    assert.equal(text, await format(expected, { ...options, filepath: path }));
  });
});

import { readFile, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import type { ComparatorName } from '../../protocol/compare/comparator.ts';
import { fixturePath, MAKE_DATA, makeFixture, type Fixture } from './fixtures.ts';
import { askModel, pairAnswers } from './llm-make.ts';
import { beNode, NODE_ROLE } from './llm-node.ts';
import { writeBetween } from '../marked-report.ts';
import { MARKS, renderRates } from './report.ts';

const HELP = `Usage: npm run bench:comparators -- [options]

Makes honest and wrong pairs of results for each comparator, and measures how often it is wrong
about them. The pairs for \`llm\` are real answers of the bundled model, or of MODEL_PATH: about ten
minutes on two cores.

Options
  --write     put the pairs into test/fixtures/comparators and the rates into docs/comparators.md
  --no-model  measure \`llm\` by the answers that are in its fixture
  --help      show this text
`;

const REPORT = 'docs/comparators.md';

const say = (line: string) => void process.stdout.write(`${line}\n`);

async function main(): Promise<number> {
  if (process.argv[2] === NODE_ROLE) {
    await beNode();
    return 0;
  }
  const { values } = parseArgs({
    options: {
      write: { type: 'boolean', default: false },
      'no-model': { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    say(HELP);
    return 0;
  }
  const fixtures = [
    makeFixture('exact', MAKE_DATA.exact()),
    makeFixture('numeric', MAKE_DATA.numeric()),
    makeFixture('image', MAKE_DATA.image()),
    values['no-model'] ? await storedLlm() : await freshLlm(),
  ];
  const report = renderRates(fixtures);
  say(report);
  if (values.write) await write(fixtures, report);
  return 0;
}

async function freshLlm() {
  const modelPath = process.env['MODEL_PATH'];
  if (modelPath === undefined) throw new Error('MODEL_PATH is not set');
  return makeFixture('llm', pairAnswers(await askModel(modelPath)));
}

async function storedLlm() {
  type Stored = ReturnType<typeof makeFixture<'llm'>>;
  const stored = JSON.parse(await readFile(fixturePath('llm'), 'utf8')) as Stored;
  return makeFixture('llm', stored.data);
}

async function write(fixtures: readonly Fixture<unknown>[], report: string): Promise<void> {
  for (const fixture of fixtures) {
    const path = fixturePath(fixture.comparator as ComparatorName);
    await writeFile(path, `${JSON.stringify(fixture)}\n`);
  }
  await writeBetween(REPORT, MARKS, report);
  say(`Written to test/fixtures/comparators and ${REPORT}.`);
}

process.exitCode = await main();

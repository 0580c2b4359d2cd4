import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, sep } from 'node:path';
import { runChecks, runTool } from './check-command.mjs';
import { ensure, toolsEnv } from './ensure.mjs';
import { readOrNothing } from './files.mjs';

const root = dirname(import.meta.dirname);

/**
 * `npm test`: the checks, then all tests but the deep ones; `npm test -- FILE --grep X`: only those
 * tests. The last line is always `N passed, N failed, N skipped`.
 *
 * @param {string[]} args passed on to mocha.
 * @returns {Promise<number>} not 0 if a check or test failed, or if no test ran.
 */
export async function main(args) {
  return testAll(args, args.length > 0 ? async () => 0 : runChecks);
}

/**
 * @param {string[]} args passed on to mocha.
 * @param {() => Promise<number>} check what has to pass besides the tests.
 * @param {object} [changes] to .mocharc.json.
 */
export async function testAll(args, check, changes = {}) {
  const tools = await ensure({ tools: true, pythons: true });
  const checksCode = await check();
  const { code, passed, failed, skipped } = await runTests(args, toolsEnv(tools), changes);
  if (checksCode !== 0) console.error('A check failed: see the list above the tests.');
  if (passed + failed === 0) console.error('No test ran, so that nothing was shown to work.');
  console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
  return checksCode || code || (passed + failed === 0 ? 1 : 0);
}

/**
 * All tests in two processes side by side, with servers of their own: much of a test's time is
 * waiting. What the second one prints comes when both have ended.
 */
async function runTests(args, env, changes) {
  const isSelected = changes.spec !== undefined || namesFiles(args);
  const [here, beside] = isSelected ? [changes, undefined] : await halves();
  const [first, second] = await Promise.all([
    runMocha(args, env, here, 'inherit'),
    beside ? runMocha(args, env, beside, 'pipe') : NOTHING,
  ]);
  process.stdout.write(second.output);
  return {
    code: first.code || second.code,
    passed: first.passed + second.passed,
    failed: first.failed + second.failed,
    skipped: first.skipped + second.skipped,
  };
}

/** Folders of test/ whose tests take about as long together as all others. */
const BESIDE = new Set([
  'bench',
  'bootstrap',
  'cli',
  'crypto',
  'docs',
  'gateway',
  'nodes',
  'prisma',
  'protocol',
  'sdk',
]);
const NOTHING = { code: 0, passed: 0, failed: 0, skipped: 0, output: '' };

/** @returns changes to .mocharc.json for each half; one if the other would be empty. */
async function halves() {
  const found = await readdir(join(root, 'test'), { recursive: true });
  const files = found
    .map((path) => path.split(sep))
    .filter((path) => path[0] !== 'deep' && path.at(-1).endsWith('.test.ts'));
  const changesFor = (half) => ({
    spec: half.map((path) => ['test', ...path].join('/')).toSorted(),
  });
  return [
    files.filter(([folder]) => !BESIDE.has(folder)),
    files.filter(([folder]) => BESIDE.has(folder)),
  ]
    .filter((half) => half.length > 0)
    .map(changesFor);
}

/**
 * @param {'inherit' | 'pipe'} output where it goes: 'pipe' returns it instead of showing it.
 */
async function runMocha(args, env, changes, output) {
  const scratch = await mkdtemp(join(tmpdir(), 'mocha-'));
  const countsFile = join(scratch, 'counts.json');
  try {
    const reporter = join(import.meta.dirname, 'mocha-reporter.cjs');
    const reporting = ['--reporter', reporter, '--reporter-option', `counts=${countsFile}`];
    const selection = await selectionArgs(args, scratch, changes);
    const mocha = ['mocha', [...selection, ...reporting], { ...process.env, ...env }];
    const ended = await runTool(...mocha, output);
    // No file: mocha failed before the tests, for instance over a test file's syntax error.
    const text = (await readOrNothing(countsFile)) ?? '{"passed":0,"failed":0,"skipped":0}';
    return { ...ended, ...JSON.parse(text) };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** By their ending, since the value of an option such as --grep may be the name of a folder. */
function namesFiles(args) {
  return args.some((arg) => arg.endsWith('.ts') && existsSync(join(root, arg)));
}

/** mocha adds named files to its configured pattern; whoever names files wants only those. */
async function selectionArgs(args, scratch, changes) {
  const config = JSON.parse(await readFile(join(root, '.mocharc.json'), 'utf8'));
  Object.assign(config, changes, namesFiles(args) ? { spec: undefined, ignore: undefined } : {});
  const file = join(scratch, 'mocharc.json');
  await writeFile(file, JSON.stringify(config));
  return ['--config', file, ...args];
}

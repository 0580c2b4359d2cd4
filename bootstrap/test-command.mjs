import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
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
  const tools = await ensure({ tools: true, pythonNode: true });
  const checksCode = await check();
  const { code, passed, failed, skipped } = await runTests(args, toolsEnv(tools), changes);
  if (checksCode !== 0) console.error('A check failed: see the list above the tests.');
  if (passed + failed === 0) console.error('No test ran, so that nothing was shown to work.');
  console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
  return checksCode || code || (passed + failed === 0 ? 1 : 0);
}

async function runTests(args, env, changes) {
  const scratch = await mkdtemp(join(tmpdir(), 'mocha-'));
  const countsFile = join(scratch, 'counts.json');
  try {
    const reporter = join(import.meta.dirname, 'mocha-reporter.cjs');
    const reporting = ['--reporter', reporter, '--reporter-option', `counts=${countsFile}`];
    const selection = await selectionArgs(args, scratch, changes);
    const code = await runTool('mocha', [...selection, ...reporting], { ...process.env, ...env });
    // No file: mocha failed before the tests, for instance over a test file's syntax error.
    const text = (await readOrNothing(countsFile)) ?? '{"passed":0,"failed":0,"skipped":0}';
    return { code, ...JSON.parse(text) };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** mocha adds named files to its configured pattern; whoever names files wants only those. */
async function selectionArgs(args, scratch, changes) {
  // By their ending, since the value of an option such as --grep may be the name of a folder.
  const namesFiles = args.some((arg) => arg.endsWith('.ts') && existsSync(join(root, arg)));
  const config = JSON.parse(await readFile(join(root, '.mocharc.json'), 'utf8'));
  Object.assign(config, changes, namesFiles ? { spec: undefined, ignore: undefined } : {});
  const file = join(scratch, 'mocharc.json');
  await writeFile(file, JSON.stringify(config));
  return ['--config', file, ...args];
}

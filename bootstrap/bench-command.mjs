import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { ensure, toolsEnv } from './ensure.mjs';

/**
 * `npm run bench`, from the same compiled copy as `npm start`.
 *
 * @param {string[]} args passed on to bench/main.ts.
 * @returns {Promise<number>} its exit code; 1 if a signal ended it.
 */
export async function main(args) {
  return runBuilt(await ensure({ tools: true, build: true }), ['bench', 'main.js'], args);
}

/**
 * @param {Awaited<ReturnType<typeof ensure>>} tools with a build.
 * @param {string[]} path of the program in the build.
 * @param {string[]} args passed on to it.
 * @returns {Promise<number>} its exit code; 1 if a signal ended it.
 */
export function runBuilt(tools, path, args) {
  const child = spawn(process.execPath, [join(tools.buildDirectory, ...path), ...args], {
    cwd: dirname(import.meta.dirname),
    env: { ...process.env, ...toolsEnv(tools) },
    stdio: 'inherit',
  });
  // A terminal's Ctrl-C reaches the program too: this process waits until it has stopped.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

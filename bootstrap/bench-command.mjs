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
  const tools = await ensure({ tools: true, build: true });
  const child = spawn(process.execPath, [join(tools.buildDirectory, 'bench', 'main.js'), ...args], {
    cwd: dirname(import.meta.dirname),
    env: { ...process.env, ...toolsEnv(tools) },
    stdio: 'inherit',
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

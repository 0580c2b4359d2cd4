import { join } from 'node:path';
import { runTool } from './check-command.mjs';
import { ensure, toolsEnv } from './ensure.mjs';

/**
 * `npm run bench`.
 *
 * @param {string[]} args passed on to bench/main.ts.
 * @returns {Promise<number>} its exit code.
 */
export async function main(args) {
  const tools = await ensure({ tools: true });
  return runTool('tsx', [join('bench', 'main.ts'), ...args], {
    ...process.env,
    ...toolsEnv(tools),
  });
}

import { runBuilt } from './bench-command.mjs';
import { ensure } from './ensure.mjs';

/**
 * `npm run bench:comparators`, with the model.
 *
 * @param {string[]} args passed on to bench/comparators/main.ts.
 * @returns {Promise<number>} its exit code; 1 if a signal ended it.
 */
export async function main(args) {
  const tools = await ensure({ tools: true, build: true });
  return runBuilt(tools, ['bench', 'comparators', 'main.js'], args);
}

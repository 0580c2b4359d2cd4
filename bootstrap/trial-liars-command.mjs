import { runBuilt } from './bench-command.mjs';
import { ensure } from './ensure.mjs';

/**
 * `npm run trial:liars`: real servers and nodes, but no model.
 *
 * @param {string[]} args passed on to bench/trial/main.ts.
 * @returns {Promise<number>} its exit code; 1 if a signal ended it.
 */
export async function main(args) {
  return runBuilt(await ensure({ tools: true, build: true }), ['bench', 'trial', 'main.js'], args);
}

import { runBuilt } from './bench-command.mjs';
import { ensure } from './ensure.mjs';

/**
 * `npm run attack`, against a network that runs: it needs no server of its own, and no model.
 *
 * @param {string[]} args passed on to bench/attack.ts.
 * @returns {Promise<number>} its exit code; 1 if a signal ended it.
 */
export async function main(args) {
  return runBuilt(await ensure({ tools: false, build: true }), ['bench', 'attack.js'], args);
}

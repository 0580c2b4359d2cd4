import { runBuilt } from './bench-command.mjs';
import { ensure } from './ensure.mjs';

/**
 * `npm run ca`: it needs dependencies alone, no server and no model.
 *
 * @param {string[]} args passed on to workers/ca.ts.
 * @returns {Promise<number>} its exit code; 1 if a signal ended it.
 */
export async function main(args) {
  return runBuilt(await ensure({ tools: false, build: true }), ['workers', 'ca.js'], args);
}

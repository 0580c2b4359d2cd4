import { testAll } from './test-command.mjs';

/**
 * `npm run test:deep`: floods, long faults and large sizes. It takes half an hour, on the real
 * servers as `npm test`.
 *
 * @param {string[]} args passed on to mocha; files named here are run instead of all.
 * @returns {Promise<number>} not 0 if a test failed, or if no test ran.
 */
export function main(args) {
  return testAll(args, async () => 0, { spec: 'test/deep/**/*.test.ts', ignore: undefined });
}

/**
 * Makes TypeScript importable, then runs the command line.
 *
 * @param {string[]} args
 * @returns {Promise<number>} the exit code.
 */
export async function main(args) {
  let tsx;
  try {
    tsx = await import('tsx/esm/api');
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    console.error('prlx: the packages it needs are missing. Run `npm start` or `npm ci` first.');
    return 1;
  }
  // The caller's folder may have a tsconfig.json of its own, which is none of our business.
  tsx.register({ tsconfig: false });
  const commandLine = await import('./main.ts');
  return commandLine.main(args);
}

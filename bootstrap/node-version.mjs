// This file and the three entries (start, check, test) must parse on Node 12, or whoever has an old
// Node sees a syntax error instead of the message below: no `node:` imports, `?.`, `??` or
// top-level await here.

/** The oldest Node that runs the project; package.json's `engines` says the same. */
const NODE_MIN = [20, 19];

/**
 * @param {string} found a version such as `20.19.1`.
 * @returns {string | undefined} what is wrong with it and what to do, for a person; or nothing.
 */
function nodeVersionProblem(found) {
  const parts = found.split('.').map(Number);
  const isNewEnough =
    parts[0] > NODE_MIN[0] || (parts[0] === NODE_MIN[0] && parts[1] >= NODE_MIN[1]);
  if (isNewEnough) return undefined;
  return (
    'Node ' +
    NODE_MIN.join('.') +
    ' or newer is needed, but this is Node ' +
    found +
    ' (' +
    process.execPath +
    ').\n' +
    'Install a current LTS release (https://nodejs.org, or `nvm install 22 && nvm use 22`), ' +
    'open a new terminal and try again.'
  );
}

/**
 * Checks the Node version, then loads `file` (beside this one) and runs its `main(args)`. The exit
 * code is what `main` resolves to; an error is printed as its message alone, and exits with 1.
 *
 * @param {string} file
 */
export function run(file) {
  const problem = nodeVersionProblem(process.versions.node);
  if (problem !== undefined) {
    console.error(problem);
    process.exitCode = 1;
    return;
  }
  import(file)
    .then((command) => command.main(process.argv.slice(2)))
    .then(
      (code) => {
        process.exitCode = code;
      },
      (error) => {
        // A BootstrapError explains itself; anything else is a defect, whose stack helps.
        console.error(error.name === 'BootstrapError' ? '\n' + error.message : error);
        process.exitCode = 1;
      },
    );
}

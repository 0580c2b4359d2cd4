import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { lastLines, runCommand } from './command.mjs';
import { readOrNothing, writeAtomically } from './files.mjs';
import { PYTHON, runPip, throwIfFull } from './pip.mjs';
import { BootstrapError } from './report.mjs';
import { SourceError } from './sources.mjs';

const VERSION = 'import sys; print("%d.%d" % sys.version_info[:2])';
const VERSION_MIN = [3, 10];

/**
 * @typedef {object} Environment a Python with packages, which tests run.
 * @property {string} what needs it, in the singular.
 * @property {string} runs what the tests run with it.
 * @property {string} folder below `.tools`.
 * @property {readonly string[]} pins the path of its requirements.
 * @property {number} megabytes
 * @property {string} variable names a Python to use instead.
 */

/** @satisfies {Record<string, Environment>} by what `ensure` calls the Python it found. */
export const PYTHONS = {
  nodePython: {
    what: 'the Python node',
    runs: 'a node in Python',
    folder: 'python-node',
    pins: ['nodes', 'python', 'requirements.txt'],
    megabytes: 150,
    variable: 'PLX_NODE_PYTHON',
  },
  sdkPython: {
    what: 'the Python SDK suite',
    runs: "OpenAI's SDK in Python",
    folder: 'python-sdk',
    pins: ['test', 'sdk', 'requirements.txt'],
    megabytes: 80,
    variable: 'PLX_SDK_PYTHON',
  },
};

/**
 * A Python with the packages of one of `PYTHONS`: the one that its variable names, or a virtual
 * environment in its folder. "Done" means that `.bootstrap-stamp` in it, written last, holds the
 * digest of the pins and the Python's version.
 *
 * @param {import('./ensure.mjs').Context} context
 * @param {keyof typeof PYTHONS} name
 * @returns {Promise<import('./ensure.mjs').Step & { found: () => Record<string, string> }>}
 */
export async function pythonStep({ root, env }, name) {
  const environment = PYTHONS[name];
  const { what, megabytes, variable } = environment;
  const folder = join(root, '.tools', environment.folder);
  const python = join(folder, 'bin', 'python');
  const stamp = join(folder, '.bootstrap-stamp');
  const pins = join(root, ...environment.pins);
  const mine = env[variable];
  const pinned = await readOrNothing(pins);
  if (pinned === undefined)
    throw new BootstrapError(
      `${pins} is missing: this clone is incomplete. ` +
        `Restore it with \`git checkout -- ${environment.pins[0]}\`.`,
    );
  const stampOf = (version) =>
    createHash('sha256').update([pinned, version].join('\0')).digest('hex');
  return {
    label: `Installing what ${what} needs (about 10 s)`,
    needs: {
      what: `the packages of ${what}`,
      folder,
      megabytes,
      otherwise: `set ${variable} to a Python that has them`,
    },
    isDone: async () => {
      if (mine) {
        await versionOf(mine, environment, env);
        return true;
      }
      const stamped = await readOrNothing(stamp);
      // It points to the Python that it was made with, which may be gone or another one by now.
      const { output } = await runCommand(python, ['-c', VERSION], { env });
      return stamped === stampOf(output.trim());
    },
    run: async ({ recordChild, progress }) => {
      const version = await versionOf(PYTHON, environment, env);
      await rm(folder, { recursive: true, force: true });
      const options = {
        cwd: root,
        env,
        onSpawn: (pid) => recordChild(pid, PYTHON),
        onOutput: (text) => {
          const [, name] = /^Collecting (\S+)/m.exec(text) ?? [];
          if (name !== undefined) progress(name);
        },
      };
      await install(folder, python, pins, options).catch((error) => {
        if (!(error instanceof SourceError)) throw error;
        const text = `What ${what} needs could not be installed: ${error.message}`;
        throw new BootstrapError(`${text}\n${advice(environment)}`, { cause: error });
      });
      await writeAtomically(stamp, stampOf(version));
    },
    found: () => ({ [name]: mine || python }),
  };
}

/**
 * By the machine's own pip: a virtual environment with a pip of its own takes eight seconds more,
 * and on Debian a package of its own. Where the machine has no pip, it is the way.
 */
async function install(folder, python, pins, options) {
  const pip = await runCommand(PYTHON, ['-m', 'pip', '--version'], options);
  const bare = pip.code === 0 ? ['--without-pip'] : [];
  const made = await runCommand(PYTHON, ['-m', 'venv', ...bare, folder], options);
  throwIfFull(made, folder);
  if (made.code !== 0)
    throw new SourceError(`\`${PYTHON} -m venv\` failed:\n${lastLines(made.output)}`);
  if (pip.code !== 0) return runPip(python, 'install', ['-r', pins], options);
  const where = ['-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'];
  const { output } = await runCommand(python, where, options);
  await runPip(PYTHON, 'install', ['-r', pins, '--target', output.trim()], options);
}

/** Such as `3.11`. Throws a BootstrapError for one that is too old, or isn't there. */
async function versionOf(python, environment, env) {
  const { code, output, missing } = await runCommand(python, ['-c', VERSION], { env });
  if (code !== 0)
    throw new BootstrapError(
      `The tests run ${environment.runs}, but ${python} ` +
        `${missing ? 'was not found' : `doesn't run:\n${lastLines(output)}`}\n` +
        advice(environment),
    );
  const version = output.trim();
  const [major, minor] = version.split('.').map(Number);
  if (major < VERSION_MIN[0] || (major === VERSION_MIN[0] && minor < VERSION_MIN[1]))
    throw new BootstrapError(`${python} is Python ${version}. ${advice(environment)}`);
  return version;
}

function advice({ variable, pins }) {
  return (
    'Install Python 3.10 or newer with venv and pip ' +
    '(`apt-get install python3-venv python3-pip`), ' +
    `or set ${variable} to a Python that has the packages of ${pins.join('/')}.`
  );
}

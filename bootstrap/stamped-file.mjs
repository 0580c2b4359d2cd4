import { stat } from 'node:fs/promises';
import { readOrNothing, sha256File, statOrNothing, writeAtomically } from './files.mjs';

/** Records that `path` has been verified, so that later starts needn't hash it again. */
export async function writeStamp(path, sha256) {
  const { size, mtimeMs } = await stat(path);
  const stamp = { sha256, sizeBytes: size, modifiedMs: mtimeMs };
  await writeAtomically(`${path}.stamp.json`, JSON.stringify(stamp));
}

/**
 * Says whether a fetched file is still what was pinned. It is hashed only when its stamp is missing
 * (a start was killed in between), or its size, time or pin differ from the stamp's.
 *
 * @param {string} path
 * @param {string | undefined} sha256 what is pinned, in hex. Where nothing is, the file counts as
 *   long as it is the one that was stamped.
 * @returns {Promise<'not there' | 'verified' | 'damaged'>}
 */
export async function verifyStamped(path, sha256) {
  const file = await statOrNothing(path);
  if (file === undefined) return 'not there';
  const stamp = JSON.parse((await readOrNothing(`${path}.stamp.json`)) ?? '{}');
  const wanted = sha256 ?? stamp.sha256;
  const isSame = stamp.sizeBytes === file.size && stamp.modifiedMs === file.mtimeMs;
  if (isSame && stamp.sha256 === wanted) return 'verified';
  if ((await sha256File(path)) !== wanted) return 'damaged';
  await writeStamp(path, wanted);
  return 'verified';
}

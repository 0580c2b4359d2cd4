import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';

/** @returns {Promise<string>} the file's SHA-256 in hex, read as a stream. */
export async function sha256File(path) {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/** @returns the `fs.Stats`, or nothing when there is no such file. */
export function statOrNothing(path) {
  return orNothing(stat(path));
}

/** @returns {Promise<string | undefined>} nothing when there is no such file. */
export function readOrNothing(path) {
  return orNothing(readFile(path, 'utf8'));
}

/** Writes beside the target and renames, so that no reader ever sees half a file. */
export async function writeAtomically(path, text) {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, text);
  await rename(temporary, path);
}

async function orNothing(reading) {
  try {
    return await reading;
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  }
}

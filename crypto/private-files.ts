import { randomUUID } from 'node:crypto';
import { link, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { EnvelopeError } from './errors.ts';

/**
 * Reads a file that its owner alone may have access to.
 *
 * @returns undefined when there is none.
 * @throws EnvelopeError `key.file_exposed`.
 */
export async function readPrivate(path: string): Promise<string | undefined> {
  const file = await open(path, 'r').catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  });
  if (!file) return undefined;
  try {
    // Of the open file, so that it can't be swapped between the check and the read.
    const { mode } = await file.stat();
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) throw exposed(path, mode);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

/**
 * Reads a private file, and makes it first if there is none: all of several processes that start
 * at once get what one of them made.
 *
 * @throws EnvelopeError `key.file_exposed` or `key.file_invalid`.
 */
export async function readOrCreatePrivate(
  path: string,
  make: () => Promise<string>,
): Promise<string> {
  const found = await readPrivate(path);
  if (found !== undefined) return found;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = await writeTemporary(path, await make());
  try {
    // A link, unlike a rename, fails if another process was first: then its keys are the keys.
    await link(temporary, path);
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  } finally {
    await rm(temporary, { force: true });
  }
  const written = await readPrivate(path);
  if (written === undefined) throw invalidKeyFile(path, 'it vanished while it was being created');
  return written;
}

/** Writes a private file whole: whoever reads it sees what was there before, or all of this. */
export async function replacePrivate(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = await writeTemporary(path, text);
  try {
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

export function invalidKeyFile(path: string, problem: string): EnvelopeError {
  return new EnvelopeError(
    'key.file_invalid',
    `The key file ${path} can't be used: ${problem}. Restore it from a backup, or move it away ` +
      'to get new keys; a node with new keys has to register again.',
  );
}

async function writeTemporary(path: string, text: string): Promise<string> {
  const temporary = `${path}.${randomUUID()}.tmp`;
  const file = await open(temporary, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  return temporary;
}

function exposed(path: string, mode: number): EnvelopeError {
  const shown = (mode & 0o777).toString(8).padStart(4, '0');
  return new EnvelopeError(
    'key.file_exposed',
    `Other users of this machine can read or change the private keys in ${path} (mode ${shown}). ` +
      `Run: chmod 600 '${path}'; if others may have read it, move it away to get new keys.`,
  );
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { readOrNothing, writeDurably } from './files.ts';
import type { PostgresPlace } from './postgres-place.ts';

const PASSWORD_BYTES = 24;
const UNFINISHED = '.initialising';

/**
 * Makes the data directory if there is none yet. `initdb` works beside it and the result is renamed
 * into place, so that a start which was killed half way is simply done again.
 *
 * @param passwordFile the superuser's password, mode 0600; written before the first use.
 * @returns the password.
 * @throws Error if data and password don't belong together, or `initdb` fails.
 */
export async function initialiseData(
  place: PostgresPlace,
  passwordFile: string,
  log: (message: string) => void,
): Promise<string> {
  const { dataDir, major } = place;
  const dataMajor = (await readOrNothing(join(dataDir, 'PG_VERSION')))?.trim();
  // An empty one, which a power cut may have left, tells no more than none.
  const known = (await readOrNothing(passwordFile))?.trim() || undefined;
  if (dataMajor !== undefined && dataMajor !== major)
    throw new Error(
      `${dataDir} was made by PostgreSQL ${dataMajor}, but this is ${major}, which can't ` +
        'read it. Start with --reset to delete it, or set DATABASE_URL to a server that you ' +
        'upgrade.',
    );
  if (dataMajor !== undefined && known !== undefined) return known;
  if (dataMajor !== undefined && !place.isMoved)
    throw new Error(
      `${dataDir} exists, but its password file ${passwordFile} is gone. Restore that file, or ` +
        'start with --reset to delete the database.',
    );
  if (dataMajor !== undefined) {
    // A reset deletes the password with the project's data directory, but can't know of this one.
    log(`Deleting ${dataDir}: it was reset`);
    await rm(dataDir, { recursive: true });
  }
  const password = randomBytes(PASSWORD_BYTES).toString('base64url');
  await writeDurably(passwordFile, `${password}\n`, 0o600);
  await runInitdb(place, password);
  return password;
}

async function runInitdb({ bin, dataDir, account }: PostgresPlace, password: string) {
  await removeUnfinished(dataDir);
  // A name of its own: the `initdb` of a killed start may run on for a moment.
  const work = `${dataDir}${UNFINISHED}-${process.pid}-${Date.now()}`;
  await mkdir(work, { recursive: true, mode: 0o700 });
  const passwordFile = join(work, 'password');
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  if (account.uid !== undefined && account.gid !== undefined)
    for (const path of [work, passwordFile]) await chown(path, account.uid, account.gid);
  const args = [
    ['--pgdata', join(work, 'data'), '--username', 'postgres', '--pwfile', passwordFile],
    // The built-in locale sorts alike on every system, so that a data directory can be moved.
    ['--encoding', 'UTF8', '--locale', 'C', '--locale-provider', 'builtin'],
    ['--builtin-locale', 'C.UTF-8', '--auth', 'scram-sha-256', '--no-instructions'],
  ].flat();
  const initdb = join(bin, 'initdb');
  try {
    // npm packages don't always keep the executable bit.
    for (const program of ['initdb', 'postgres']) await makeExecutable(join(bin, program));
    await promisify(execFile)(initdb, args, { ...account, cwd: '/' });
  } catch (error) {
    const { stderr = '', message } = error as { stderr?: string; message: string };
    throw new Error(
      `PostgreSQL's data directory could not be made in ${work}:\n${stderr.trim() || message}\n` +
        'Repair that, or set DATABASE_URL to a PostgreSQL server of your own (15 or newer).',
      { cause: error },
    );
  }
  await rename(join(work, 'data'), dataDir);
  await rm(work, { recursive: true });
}

async function removeUnfinished(dataDir: string) {
  const folder = dirname(dataDir);
  for (const name of await readdir(folder))
    if (name.startsWith(`${basename(dataDir)}${UNFINISHED}`))
      await rm(join(folder, name), { recursive: true, force: true, maxRetries: 5 });
}

async function makeExecutable(path: string) {
  try {
    await chmod(path, 0o755);
  } catch (error) {
    // Installed by another user or read-only: then it is as executable as it will ever be.
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EPERM' && code !== 'EROFS') throw error;
  }
}

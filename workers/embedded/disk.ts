import { mkdir, open, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hasCode } from './files.ts';

const MIB = 1024 * 1024;
/** New databases take 55 MiB, and grow with the first requests. */
const FRESH_BYTES_MIN = 192 * MIB;
const USED_BYTES_MIN = 64 * MIB;
const WATCH_MS = 10_000;
const OTHER_DIRECTORY = 'or set PLX_DATA_DIR to a directory elsewhere.';
const MAKE_ROOM = `Make room there, start with --reset to delete earlier data, ${OTHER_DIRECTORY}`;

/**
 * Makes the data directory if there is none, and checks that this user can keep databases in it.
 *
 * @throws Error for people: not writable, another user's, or too little room.
 */
export async function prepareDataDir(dataDir: string): Promise<void> {
  // Made before the private folders in it: PostgreSQL's account must be able to pass through.
  await explained(dataDir, () => mkdir(dataDir, { recursive: true, mode: 0o755 }));
  const keys = await statOrNothing(join(dataDir, 'keys'));
  const uid = process.geteuid?.();
  if (keys && uid !== undefined && keys.uid !== uid)
    throw new Error(
      `The data directory ${dataDir} was made by ${userName(keys.uid)}, but this is ` +
        `${userName(uid)}. Start as that user, hand everything in it over (chown -R), ` +
        OTHER_DIRECTORY,
    );
  await explained(dataDir, () => probe(dataDir));
  await assertRoom(dataDir, keys ? USED_BYTES_MIN : FRESH_BYTES_MIN);
}

/** @throws Error that names the directory, what is free and what is needed. */
export async function assertRoom(directory: string, bytesMin: number): Promise<void> {
  const free = await freeBytes(directory);
  if (free >= bytesMin) return;
  throw new Error(
    `The disk of ${directory} has ${mib(free)} free, but at least ${mib(bytesMin)} are needed. ` +
      MAKE_ROOM,
  );
}

/**
 * Runs work on the data directory.
 *
 * @throws Error for people instead of the system's, when the disk is full, read-only or forbidden.
 */
export async function explained<T>(dataDir: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (hasCode(error, 'ENOSPC', 'EDQUOT'))
      throw new Error(
        `The disk of ${dataDir} is full (${mib(await freeBytes(dataDir))} free). ${MAKE_ROOM}`,
        { cause: error },
      );
    if (hasCode(error, 'EROFS', 'EACCES', 'EPERM', 'ENOTDIR', 'EEXIST') && isIn(dataDir, error))
      throw new Error(
        `The data directory ${dataDir} can't be written by ${userName(process.geteuid?.())} ` +
          `(${(error as Error).message}). Make it writable, ${OTHER_DIRECTORY}`,
        { cause: error },
      );
    throw error;
  }
}

/** A sentence about a disk that is nearly full, to explain another failure; empty if it isn't. */
export async function diskHint(dataDir: string): Promise<string> {
  const free = await freeBytes(dataDir);
  if (free >= USED_BYTES_MIN) return '';
  return (
    `The disk of ${dataDir} is nearly full (${mib(free)} free): make room there, ` + OTHER_DIRECTORY
  );
}

/** Says once when the disk gets nearly full, and once when there is room again. @returns its end */
export function watchDisk(
  dataDir: string,
  say: (message: string) => void,
  everyMs = WATCH_MS,
): () => void {
  let isLow = false;
  const look = async () => {
    const hint = await diskHint(dataDir);
    if (hint !== '' && !isLow) say(hint);
    if (hint === '' && isLow) say(`The disk of ${dataDir} has room again.`);
    isLow = hint !== '';
  };
  const timer = setInterval(() => void look().catch(() => undefined), everyMs).unref();
  return () => clearInterval(timer);
}

/** Modes alone don't tell whether a file can be made (read-only mounts, access lists, quotas). */
async function probe(dataDir: string): Promise<void> {
  const path = join(dataDir, `.probe-${process.pid}`);
  const file = await open(path, 'w');
  try {
    await file.writeFile('probe');
    await file.sync();
  } finally {
    await file.close();
    await rm(path, { force: true });
  }
}

async function freeBytes(directory: string): Promise<number> {
  for (let path = directory; ; path = dirname(path)) {
    try {
      const { bavail, bsize } = await statfs(path);
      return bavail * bsize;
    } catch (error) {
      if (!hasCode(error, 'ENOENT') || path === dirname(path)) throw error;
    }
  }
}

async function statOrNothing(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'EACCES', 'ENOTDIR')) return undefined;
    throw error;
  }
}

function isIn(dataDir: string, error: unknown): boolean {
  const { path = dataDir } = error as NodeJS.ErrnoException;
  return path.startsWith(dataDir) || dataDir.startsWith(path);
}

function userName(uid: number | undefined): string {
  if (uid === undefined) return 'this user';
  return uid === 0 ? 'root' : `the user with id ${uid}`;
}

function mib(bytes: number): string {
  return `${Math.floor(bytes / MIB)} MiB`;
}

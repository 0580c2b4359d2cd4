import { randomUUID } from 'node:crypto';
import { mkdir, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { runCommand } from './command.mjs';
import { readOrNothing, statOrNothing } from './files.mjs';

const HEARTBEAT_MS = 5_000;
/** An owner on another machine (a shared disk) is known only by its silence. */
const SILENT_MS = 120_000;
const CLAIM_EXPIRES_MS = 10_000;

/**
 * Runs `work` while holding a lock directory, so that two starts don't install into each other. The
 * directory is made elsewhere and renamed into place, owner file included: it is never half made.
 * A lock whose owner died is taken over, and what the dead owner left running is ended first.
 *
 * @template T
 * @param {string} lock path of the directory.
 * @param {{ pollMs?: number, onWait?: (owner: { pid: number }) => unknown }} options
 * @param {(recordChild: (pid: number, command: string) => Promise<void>) => Promise<T>} work must
 *   record each program it starts, since that outlives a killed bootstrap.
 * @returns {Promise<T>}
 */
export async function withLock(lock, { pollMs = 250, onWait }, work) {
  const command = basename(process.argv[1] ?? process.execPath);
  const owner = { token: randomUUID(), pid: process.pid, host: hostname(), command };
  const file = join(lock, 'owner.json');
  await acquire(lock, owner, pollMs, onWait);
  const beat = () => {
    const now = new Date();
    // A failed beat only matters if all fail for two minutes; then the lock may be taken over.
    utimes(file, now, now).catch(() => undefined);
  };
  const heartbeat = setInterval(beat, HEARTBEAT_MS);
  try {
    return await work((pid, command) =>
      writeFile(file, JSON.stringify({ ...owner, child: { pid, command } })),
    );
  } finally {
    clearInterval(heartbeat);
    await rm(lock, { recursive: true, force: true });
  }
}

async function acquire(lock, owner, pollMs, onWait) {
  await mkdir(dirname(lock), { recursive: true });
  const made = `${lock}.${owner.token}`;
  await mkdir(made);
  await writeFile(join(made, 'owner.json'), JSON.stringify(owner));
  for (let isFirst = true; ; isFirst = false) {
    try {
      await rename(made, lock);
      return;
    } catch (error) {
      if (!['ENOTEMPTY', 'EEXIST', 'EPERM'].includes(error.code)) {
        await rm(made, { recursive: true, force: true });
        throw error;
      }
    }
    const holder = await readOwner(lock);
    if (holder !== undefined && (await isStale(lock, holder))) await takeOver(lock, holder);
    else {
      if (isFirst && holder !== undefined) onWait?.(holder);
      await sleep(pollMs);
    }
  }
}

async function readOwner(lock) {
  const text = await readOrNothing(join(lock, 'owner.json'));
  // Rewriting the owner file is not atomic: text that doesn't parse is read again at the next poll.
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function isStale(lock, holder) {
  if (holder.host === hostname() && !(await isRunning(holder))) return true;
  const owner = await statOrNothing(join(lock, 'owner.json'));
  return owner !== undefined && Date.now() - owner.mtimeMs > SILENT_MS;
}

/** Of several waiters only the one that creates the claim file removes the dead owner's lock. */
async function takeOver(lock, holder) {
  const claim = join(lock, `claim-${holder.token}`);
  try {
    await writeFile(claim, '', { flag: 'wx' });
  } catch (error) {
    if (error.code === 'EEXIST') await dropExpiredClaim(claim);
    else if (error.code !== 'ENOENT') throw error;
    return;
  }
  // Between reading and claiming, another waiter may have replaced the lock: then leave it alone.
  if ((await readOwner(lock))?.token !== holder.token) return;
  if (holder.host === hostname() && holder.child) await endLeftover(holder.child);
  const removed = `${lock}.stale-${randomUUID()}`;
  await rename(lock, removed);
  await rm(removed, { recursive: true, force: true });
}

async function dropExpiredClaim(claim) {
  const made = await statOrNothing(claim);
  if (made !== undefined && Date.now() - made.mtimeMs > CLAIM_EXPIRES_MS)
    await rm(claim, { force: true });
}

async function endLeftover(child) {
  while (await isRunning(child)) {
    process.kill(child.pid, 'SIGKILL');
    await sleep(50);
  }
}

/** The command line is compared, because the process id may belong to a stranger by now. */
async function isRunning({ pid, command }) {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it lives, under another user.
    if (error.code !== 'EPERM') return false;
  }
  return (await commandLine(pid)).includes(command);
}

async function commandLine(pid) {
  if (process.platform === 'linux')
    return ((await readOrNothing(`/proc/${pid}/cmdline`)) ?? '').replaceAll('\0', ' ');
  const { code, output } = await runCommand('ps', ['-o', 'command=', '-p', String(pid)]);
  return code === 0 ? output : '';
}

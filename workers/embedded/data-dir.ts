import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { explained, prepareDataDir } from './disk.ts';
import { hasCode } from './files.ts';
import { assertUnowned, takeOwnership, type Ownership } from './owner.ts';
import { stopLeftoverPostgres } from './postgres-leftover.ts';
import { stopLeftoverRoles } from './process.ts';
import { stopLeftoverTemporal } from './temporal.ts';

type Log = (message: string) => void;

/** A data directory that this process's network alone runs on. */
export interface OpenDataDir {
  /** Where a role's record goes. */
  recordFile(role: string): string;
  /** For the message to whoever starts a second network here. */
  announce(gatewayUrl: string): Promise<void>;
  close(): Promise<void>;
}

/** Of the data directory: which processes run on it. */
const RUN = 'run';

/**
 * Makes a data directory ready for a network: it is this process's from now on, nothing of an
 * earlier network runs on it any more, and there is room.
 *
 * @param dataDir an absolute path.
 * @throws Error for people, such as when a network runs on it; nothing is changed then.
 */
export async function openDataDir(
  dataDir: string,
  { log, reset }: { log: Log; reset: boolean },
): Promise<OpenDataDir> {
  const owners = join(dataDir, RUN);
  if (reset) {
    // Before anything is written, since the disk may be full of what shall be deleted.
    await assertUnowned(owners, dataDir, log);
    await stopLeftovers(dataDir, log);
    await explained(dataDir, () => empty(dataDir));
    log(`Deleted everything in ${dataDir}`);
  }
  await prepareDataDir(dataDir);
  const ownership: Ownership = await explained(dataDir, () => takeOwnership(owners, dataDir, log));
  if (!reset) await stopLeftovers(dataDir, log);
  return {
    recordFile: (role) => join(dataDir, RUN, 'roles', `${role}.json`),
    announce: (gatewayUrl) => ownership.announce(gatewayUrl),
    close: () => ownership.release(),
  };
}

async function stopLeftovers(dataDir: string, log: Log): Promise<void> {
  // Roles first: they use the servers.
  await stopLeftoverRoles(join(dataDir, RUN, 'roles'), log);
  await stopLeftoverPostgres(join(dataDir, 'postgres'), log);
  await stopLeftoverTemporal(join(dataDir, 'temporal', 'temporal.db'), log);
}

/** All but the owners' files, which tell a start at the same moment what goes on. */
async function empty(dataDir: string): Promise<void> {
  const names = await readdir(dataDir).catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  });
  for (const name of names)
    if (name !== RUN) await rm(join(dataDir, name), { recursive: true, force: true });
}

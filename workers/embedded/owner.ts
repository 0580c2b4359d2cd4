import { link, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { hasCode, writeTemporary } from './files.ts';
import { commandLine, processIdentity, stopProcess, type StopSignal } from './os-process.ts';
import { isRunning, processRecord, readRecord, recordOf, writeRecord } from './process-record.ts';

/** Which network runs on a data directory. */
const ownerRecord = processRecord.extend({
  startedAt: z.iso.datetime(),
  /** Whether it has stopped since, though its process may go on. */
  hasStopped: z.boolean(),
  /** Who started it, if it ends with that process. */
  launcher: processRecord.optional(),
  gatewayUrl: z.string().optional(),
});
type OwnerRecord = z.infer<typeof ownerRecord>;

/** What a network needs to stop in order by itself, at most; then it is stopped. */
const ORPHAN_SIGNALS: readonly StopSignal[] = [
  ['SIGTERM', 30_000],
  ['SIGKILL', 5_000],
];

/** This process's hold on a data directory, until `release` or its end. */
export interface Ownership {
  /** For the message to whoever starts a second network here. */
  announce(gatewayUrl: string): Promise<void>;
  release(): Promise<void>;
}

/**
 * Takes hold of a data directory. Each network writes a file with a number of its own, and the
 * highest is the owner as long as its process runs. A file with a number can be made once only, so
 * that of two starts which find a dead owner, one wins; and no file is ever removed while it is the
 * highest.
 *
 * @param directory of these files.
 * @throws Error if another network runs here. One whose launcher is gone is about to stop, and is
 * waited for, or made to stop.
 */
export async function takeOwnership(
  directory: string,
  dataDir: string,
  log: (message: string) => void,
): Promise<Ownership> {
  for (;;) {
    const previous = await highest(directory);
    if (previous > 0) await assertOver(join(directory, fileName(previous)), dataDir, log);
    const number = previous + 1;
    const path = join(directory, fileName(number));
    let record = await ownRecord();
    if (!(await createOnce(path, record))) continue;
    if ((await highest(directory)) !== number) {
      // While this start looked, others came and went.
      await rm(path, { force: true });
      continue;
    }
    await removeBelow(directory, number);
    const update = async (changes: Partial<OwnerRecord>) => {
      record = { ...record, ...changes };
      await writeRecord(path, record);
    };
    return {
      announce: (gatewayUrl) => update({ gatewayUrl }),
      // On a full disk that can't be written; the end of this process says the same.
      release: () => update({ hasStopped: true }).catch(() => undefined),
    };
  }
}

/** @throws Error if a network runs on the data directory; an orphan is stopped. */
export async function assertUnowned(
  directory: string,
  dataDir: string,
  log: (message: string) => void,
): Promise<void> {
  const number = await highest(directory);
  if (number > 0) await assertOver(join(directory, fileName(number)), dataDir, log);
}

async function assertOver(path: string, dataDir: string, log: (message: string) => void) {
  const owner = await readRecord(ownerRecord, path);
  if (!owner || owner.hasStopped || !(await isRunning(owner))) return;
  if (owner.launcher && !(await isRunning(owner.launcher))) {
    log(`An earlier network, which lost its launcher, is stopping (process ${owner.pid}): waiting`);
    return stopProcess(owner.pid, ORPHAN_SIGNALS);
  }
  const pid = owner.launcher?.pid ?? owner.pid;
  const at = owner.gatewayUrl === undefined ? 'It is starting.' : `It is at ${owner.gatewayUrl}.`;
  throw new Error(
    `A network already runs on ${dataDir}: process ${pid}, since ${owner.startedAt}. ${at} ` +
      `Stop it (Ctrl-C there, or \`kill ${pid}\`), or set PLX_DATA_DIR to another directory to ` +
      'run a second one.',
  );
}

async function ownRecord(): Promise<OwnerRecord> {
  const launcherPid = Number(process.env['PLX_LAUNCHER_PID'] ?? 0);
  return {
    ...(await recordOf(process.pid)),
    startedAt: new Date().toISOString(),
    hasStopped: false,
    ...(launcherPid > 0 ? { launcher: await launcherRecord(launcherPid) } : {}),
  };
}

/** Also of one that has ended meanwhile: then it never matches a process again. */
async function launcherRecord(pid: number) {
  const [identity = '', command] = await Promise.all([processIdentity(pid), commandLine(pid)]);
  return { pid, identity, command };
}

/** @returns false if the file is there already. */
async function createOnce(path: string, record: OwnerRecord): Promise<boolean> {
  const temporary = await writeTemporary(path, `${JSON.stringify(record)}\n`);
  try {
    await link(temporary, path);
    return true;
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false;
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function highest(directory: string): Promise<number> {
  return Math.max(0, ...(await numbers(directory)));
}

async function removeBelow(directory: string, number: number): Promise<void> {
  for (const each of await numbers(directory))
    if (each < number) await rm(join(directory, fileName(each)), { force: true });
}

async function numbers(directory: string): Promise<number[]> {
  try {
    const names = await readdir(directory);
    return names.flatMap((name) => /^network\.(\d+)\.json$/.exec(name)?.slice(1).map(Number) ?? []);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

function fileName(number: number): string {
  return `network.${number}.json`;
}

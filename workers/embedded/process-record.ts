import { z } from 'zod';
import { readJson, writeDurably } from './files.ts';
import { commandLine, processIdentity } from './os-process.ts';

/**
 * A process as later starts recognise it: a process id alone may belong to a stranger by then, and
 * after a reboot even the time of the start may be that of another one.
 */
export const processRecord = z.object({
  pid: z.int().positive(),
  identity: z.string(),
  /** Its arguments, joined by blanks. */
  command: z.string(),
});
export type ProcessRecord = z.infer<typeof processRecord>;

/** @throws Error if no such process runs. */
export async function recordOf(pid: number): Promise<ProcessRecord> {
  const [identity, command] = await Promise.all([processIdentity(pid), commandLine(pid)]);
  if (identity === undefined) throw new Error(`Process ${pid} has ended`);
  return { pid, identity, command };
}

/** Whether exactly that process still runs. */
export async function isRunning({ pid, identity, command }: ProcessRecord): Promise<boolean> {
  if ((await processIdentity(pid)) !== identity) return false;
  return (await commandLine(pid)) === command;
}

/** A record from a file; nothing when there is none, or it can't be read as one. */
export async function readRecord<Schema extends z.ZodType>(
  schema: Schema,
  path: string,
): Promise<z.infer<Schema> | undefined> {
  return schema.safeParse(await readJson(path)).data;
}

export async function writeRecord(path: string, record: object): Promise<void> {
  await writeDurably(path, `${JSON.stringify(record)}\n`);
}

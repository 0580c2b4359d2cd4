import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { processIdentity } from '../../../workers/embedded/os-process.ts';

/** A directory that every account may enter, as PostgreSQL's own must when tests run as root. */
export async function makeFolder(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'plx-embedded-'));
  await chmod(path, 0o755);
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

/** Starts a server in a process of its own, and tells the server's process id once it is up. */
export async function launchElsewhere(
  kind: 'postgres' | 'temporal' | 'role',
  options: object,
): Promise<{ launcher: ChildProcess; pid: number }> {
  const entry = fileURLToPath(new URL('./fixtures/launcher.ts', import.meta.url));
  const args = ['--import', 'tsx', entry, kind, JSON.stringify(options)];
  const launcher = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: launcher.stdout });
  const [line] = (await Promise.race([
    once(lines, 'line'),
    once(launcher, 'exit').then(([code]) => {
      throw new Error(`the launcher ended with ${String(code)}`);
    }),
  ])) as [string];
  return { launcher, pid: Number(line) };
}

/** Waits up to 3 s for a process to end. */
export async function gone(pid: number): Promise<boolean> {
  for (let attempt = 0; attempt < 150; attempt++) {
    if ((await processIdentity(pid)) === undefined) return true;
    await sleep(20);
  }
  return false;
}

/** Ends a process in the way that leaves it no time for anything. */
export async function kill(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

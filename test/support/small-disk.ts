import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Mounts a disk of that size on a directory. @returns whether it could; containers seldom may. */
export async function mountDisk(path: string, sizeMib: number): Promise<boolean> {
  if (process.getuid?.() !== 0 || process.platform !== 'linux') return false;
  return run('mount', ['-t', 'tmpfs', '-o', `size=${sizeMib}m,mode=755`, 'tmpfs', path]).then(
    () => true,
    () => false,
  );
}

export async function unmount(path: string): Promise<void> {
  await run('umount', [path]);
}

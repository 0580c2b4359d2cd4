import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const POLL_MS = 1_000;

/**
 * Aborts when the `npm start` that runs this process is gone, as after a `kill -9` of npm or of the
 * shell between them. A closed terminal or a detached start (`nohup`, `setsid`) leaves npm running,
 * so they don't count; and without npm there is nothing to watch.
 *
 * @param {NodeJS.ProcessEnv} env
 * @returns {AbortSignal}
 */
export function whenNpmEnds(env) {
  const ended = new AbortController();
  if (env.npm_lifecycle_event !== 'start') return ended.signal;
  const parent = process.ppid;
  const npm = npmBehindShell(parent);
  const look = () => {
    if (process.ppid === parent && (npm === undefined || isRunning(npm))) return;
    clearInterval(timer);
    ended.abort();
  };
  const timer = setInterval(look, POLL_MS).unref();
  return ended.signal;
}

/** npm itself when it is the parent's parent: `sh -c` becomes the command with some shells only. */
function npmBehindShell(parent) {
  if (process.platform === 'win32') return undefined;
  try {
    const [pid, command] = parentAndCommand(parent);
    return /^\S*sh -c /.test(command) && pid > 1 ? pid : undefined;
  } catch {
    // The parent has ended already, which the first look notices; or there is no `ps`.
    return undefined;
  }
}

function parentAndCommand(pid) {
  if (process.platform === 'linux') {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    return [Number(/^PPid:\s*(\d+)/m.exec(status)?.[1]), command];
  }
  const output = execFileSync('ps', ['-o', 'ppid=,command=', '-p', String(pid)], {
    encoding: 'utf8',
  });
  const [, parent, command] = /^\s*(\d+)\s+(.*)$/m.exec(output) ?? [];
  return [Number(parent), command ?? ''];
}

function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

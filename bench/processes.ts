import { execFile } from 'node:child_process';
import { readFile, readdir } from 'node:fs/promises';
import { promisify } from 'node:util';

/** What a running process has used of the CPU, in seconds. */
interface CpuUse {
  readonly pid: number;
  readonly parentPid: number;
  readonly seconds: number;
  /** Of children that have ended. */
  readonly endedChildrenSeconds: number;
}

/** Linux counts in hundredths of a second, whatever its kernel's own tick (proc(5), sysconf(3)). */
const TICKS_PER_SECOND = 100;

/**
 * CPU time that each process has used so far, with its children, those that have ended included:
 * PostgreSQL has one for each connection. Not finer than 10 ms.
 *
 * @returns seconds, by the names of `pids`.
 * @throws Error where neither /proc nor `ps` tells.
 */
export async function cpuSeconds<Name extends string>(
  pids: Readonly<Record<Name, number>>,
): Promise<Record<Name, number>> {
  const all = process.platform === 'linux' ? await readProc() : await readPs();
  const names = Object.keys(pids) as Name[];
  const entries = names.map((name) => {
    const family = all.filter(
      ({ pid, parentPid }) => pid === pids[name] || parentPid === pids[name],
    );
    const used = family.reduce((sum, { seconds }) => sum + seconds, 0);
    return [name, used + (family.find(({ pid }) => pid === pids[name])?.endedChildrenSeconds ?? 0)];
  });
  return Object.fromEntries(entries) as Record<Name, number>;
}

async function readProc(): Promise<CpuUse[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const stats = await Promise.all(
    // Between the list and the look a process may end.
    pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)),
  );
  return stats.flatMap((stat) => (stat === undefined ? [] : [parseStat(stat)]));
}

/** Fields of proc_pid_stat(5): 4 ppid, 14 utime, 15 stime, 16 cutime, 17 cstime. */
function parseStat(stat: string): CpuUse {
  // The second field is the name in brackets, which may hold anything: count from behind it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const field = (number: number) => Number(fields[number - 3]);
  return {
    pid: Number.parseInt(stat, 10),
    parentPid: field(4),
    seconds: (field(14) + field(15)) / TICKS_PER_SECOND,
    endedChildrenSeconds: (field(16) + field(17)) / TICKS_PER_SECOND,
  };
}

async function readPs(): Promise<CpuUse[]> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,ppid=,time=']);
  return stdout
    .trim()
    .split('\n')
    .map((line) => {
      const [pid = '', parentPid = '', time = ''] = line.trim().split(/\s+/);
      return {
        pid: Number(pid),
        parentPid: Number(parentPid),
        // [[DD-]HH:]MM:SS[.hh] (POSIX ps), from the right.
        seconds: time
          .split(/[-:]/)
          .reverse()
          .reduce(
            (sum, part, index) => sum + Number(part) * ([1, 60, 3_600, 86_400][index] ?? 0),
            0,
          ),
        endedChildrenSeconds: 0,
      };
    });
}

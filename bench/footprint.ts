import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify, stripVTControlCharacters } from 'node:util';
import { stopProcess } from '../workers/embedded/os-process.ts';
import { freePorts } from '../workers/embedded/ports.ts';

/** What one process of the network holds in memory. */
export interface ProcessFootprint {
  readonly pid: number;
  /** `launcher`, `network`, a role's or node's name, `temporal`, `postgresql`; else its program. */
  readonly name: string;
  /** Resident pages. What processes share, such as the model's file, counts in each of them. */
  readonly rssBytes: number;
  /** The same with shared pages divided by those who share them; null where only Linux tells. */
  readonly pssBytes: number | null;
}

/** What a whole network takes to start, and holds after one request. */
export interface Footprint {
  /** From the start of `npm start`'s program until every part is up and a request is sent. */
  readonly readySeconds: number;
  /** Sum over all processes: PostgreSQL's shared memory counts in each of its own. */
  readonly rssBytes: number;
  /** The honest sum; null where only Linux tells. */
  readonly pssBytes: number | null;
  readonly perProcess: readonly ProcessFootprint[];
}

export interface FootprintOptions {
  /**
   * Where the network keeps its data. Left as it is afterwards, so that a second measurement shows
   * a start with databases and keys in place. Default: a new directory, which is removed.
   */
  readonly dataDir?: string | undefined;
  /** How long start and request may take together, 300 by default. */
  readonly withinSeconds?: number;
  /** Variables besides this process's own, such as `MODEL_PATH`. */
  readonly env?: Readonly<Record<string, string>>;
}

/** In the checkout, which is the working directory: this file may run from a build. */
const START = resolve('bootstrap', 'start.mjs');
const PORTS = ['GATEWAY', 'COORDINATOR', 'POSTGRES', 'TEMPORAL', 'TEMPORAL_UI', 'EDGE'];
/** With these the network would use servers of somebody else, which aren't in the sums. */
const NOT_OWN = ['DATABASE_URL', 'TEMPORAL_ADDRESS'];
/** What `npm start` prints once all parts are up, and once its first request has ended. */
const READY = /^Prompt /m;
const REQUEST_SHOWN = /^Ctrl-C stops the network\./m;
const COMPLETED = /^Status +completed$/m;

/**
 * Starts a network as `npm start` does, on free ports, with its one request, measures it and stops
 * it. What is missing is installed first, as part of the time: measure twice on a new checkout.
 *
 * @throws Error with the network's output when it doesn't start in time, or the request fails.
 */
export async function measureFootprint(options: FootprintOptions = {}): Promise<Footprint> {
  const dataDir = options.dataDir ?? (await temporaryDirectory());
  const { withinSeconds = 300 } = options;
  try {
    const env = await networkEnv(dataDir, options.env);
    const startedAt = performance.now();
    const child = spawn(process.execPath, [START], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const waitFor = outputOf(child, startedAt + withinSeconds * 1_000);
    try {
      await waitFor(READY);
      const readySeconds = (performance.now() - startedAt) / 1_000;
      const output = await waitFor(REQUEST_SHOWN);
      if (!COMPLETED.test(output))
        throw new Error(`The network's request did not complete:\n${output}`);
      const perProcess = await measureTree(child.pid ?? 0);
      return { readySeconds, ...sums(perProcess), perProcess };
    } finally {
      // It stops its roles and servers in their order; that may take a while on a busy machine.
      if (child.pid !== undefined) await stopProcess(child.pid, [['SIGTERM', 120_000]]);
    }
  } finally {
    if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
  }
}

async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'plx-footprint-'));
  // Private by default; PostgreSQL's account must be able to pass through.
  await chmod(directory, 0o755);
  return directory;
}

async function networkEnv(dataDir: string, changed: NodeJS.ProcessEnv = {}) {
  const own = Object.entries(process.env).filter(([name]) => !NOT_OWN.includes(name));
  const ports = await freePorts(PORTS.length);
  return {
    ...Object.fromEntries(own),
    ...Object.fromEntries(PORTS.map((name, index) => [`PLX_${name}_PORT`, String(ports[index])])),
    PLX_DATA_DIR: dataDir,
    NO_COLOR: '1',
    ...changed,
  };
}

/** @returns waits until the output matches, and gives all of it so far. */
function outputOf(child: ChildProcess, deadlineMs: number) {
  let output = '';
  let ended: string | undefined;
  let wake = () => {};
  const collect = (data: Buffer) => {
    output += stripVTControlCharacters(data.toString('utf8'));
    wake();
  };
  child.stdout?.on('data', collect);
  child.stderr?.on('data', collect);
  child.once('error', (error) => ((ended = error.message), wake()));
  child.once('close', (code) => ((ended = `exit code ${code}`), wake()));
  return async (pattern: RegExp): Promise<string> => {
    for (;;) {
      if (pattern.test(output)) return output;
      const leftMs = deadlineMs - performance.now();
      if (ended !== undefined) throw new Error(`The network ended (${ended}):\n${output}`);
      if (leftMs <= 0) throw new Error(`The network is too slow. It printed:\n${output}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  };
}

function sums(processes: readonly ProcessFootprint[]) {
  const rssBytes = processes.reduce((sum, process) => sum + process.rssBytes, 0);
  const pssBytes = processes.reduce<number | null>(
    (sum, process) => (sum === null || process.pssBytes === null ? null : sum + process.pssBytes),
    0,
  );
  return { rssBytes, pssBytes };
}

interface RunningProcess {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
  /** As its environment says; empty for all others, and where that can't be read. */
  readonly nodeName: string;
  readonly rssBytes: number;
  readonly pssBytes: number | null;
}

/** A process and all its descendants; servers in process groups of their own are among them. */
async function measureTree(root: number): Promise<ProcessFootprint[]> {
  const all = await (process.platform === 'linux' ? readProc() : readPs());
  const tree = all.filter(({ pid }) => pid === root);
  // It grows while it is walked: children of what was found are found in turn.
  for (const { pid } of tree) tree.push(...all.filter(({ parent }) => parent === pid));
  return tree.map(({ pid, command, nodeName, rssBytes, pssBytes }) => ({
    pid,
    name: nameOf(command, nodeName),
    rssBytes,
    pssBytes,
  }));
}

function nameOf(command: string, nodeName: string): string {
  if (command.includes('bootstrap/start.mjs')) return 'launcher';
  const role = /\/workers\/(\w+)\.(?:js|ts)\b/.exec(command)?.[1];
  if (role) return role === 'node' && nodeName ? nodeName : role;
  if (/^postgres:|\/postgres /.test(command)) return 'postgresql';
  if (command.includes(' server start-dev ')) return 'temporal';
  return command.split(' ')[0] ?? '';
}

async function readProc(): Promise<RunningProcess[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(pids.map(readProcess));
  return found.filter((each) => each !== undefined);
}

/** @returns nothing for one that ended meanwhile, or is somebody else's and can't be looked at. */
async function readProcess(pid: number): Promise<RunningProcess | undefined> {
  const read = (file: string) => readFile(`/proc/${pid}/${file}`, 'utf8');
  try {
    const [stat, command, memory] = await Promise.all(
      ['stat', 'cmdline', 'smaps_rollup'].map(read),
    );
    if (stat === undefined || command === undefined || memory === undefined) return undefined;
    const environment = await read('environ').catch(() => '');
    // The second field is the name in brackets, which may hold anything: count from behind it.
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    const bytes = (field: string) =>
      Number(new RegExp(`^${field}: +(\\d+) kB$`, 'm').exec(memory)?.[1] ?? Number.NaN) * 1_024;
    const nodeName = /(?:^|\0)PLX_NODE_NAME=([^\0]*)/.exec(environment)?.[1] ?? '';
    const text = command.replaceAll('\0', ' ');
    return { pid, parent, command: text, nodeName, rssBytes: bytes('Rss'), pssBytes: bytes('Pss') };
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(code)) return undefined;
    throw error;
  }
}

async function readPs(): Promise<RunningProcess[]> {
  const columns = 'pid=,ppid=,rss=,command=';
  const { stdout } = await promisify(execFile)('ps', ['-axww', '-o', columns]);
  return stdout.split('\n').flatMap((line) => {
    const [, pid, parent, kilobytes, command = ''] =
      /^ *(\d+) +(\d+) +(\d+) (.*)$/.exec(line) ?? [];
    if (pid === undefined) return [];
    const rssBytes = Number(kilobytes) * 1_024;
    const numbers = { pid: Number(pid), parent: Number(parent), rssBytes, pssBytes: null };
    return [{ ...numbers, command, nodeName: '' }];
  });
}

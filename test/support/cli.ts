import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { API_KEY } from './seeded.ts';

export const ENTRY = fileURLToPath(new URL('../../cli/prlx.mjs', import.meta.url));

export interface CliOptions {
  readonly gatewayUrl?: string;
  /** Besides the test's own PATH; nothing else is inherited. */
  readonly env?: Readonly<Record<string, string>>;
  /** What comes by stdin; it ends at once by default. */
  readonly input?: string;
  readonly cwd?: string;
  /** Another way to the same program, such as a link. */
  readonly entry?: string;
}

export interface CliResult {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningCli {
  readonly child: ChildProcess;
  /** All that came by stdout and stderr so far. */
  output(): { readonly stdout: string; readonly stderr: string };
  /** Waits until stdout and stderr together match. */
  until(pattern: RegExp): Promise<void>;
  ended(): Promise<CliResult>;
}

const UNTIL_MS_MAX = 40_000;

/** Runs `prlx` as a process of its own, to its end. */
export async function prlx(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const running = startPrlx(args, options);
  running.child.stdin?.end(options.input ?? '');
  return running.ended();
}

/** Starts `prlx`; its stdin stays open. */
export function startPrlx(args: readonly string[], options: CliOptions = {}): RunningCli {
  return start(process.execPath, [options.entry ?? ENTRY, ...args], options);
}

/** `prlx` on a terminal of its own: what is written to stdin is typed, `\x03` is Ctrl-C. */
export function startOnTerminal(args: readonly string[], options: CliOptions = {}): RunningCli {
  // Python is needed by the project anyway, and has terminals; Node has none.
  const script =
    'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))';
  const command = ['-c', script, process.execPath, ENTRY, ...args];
  const env = { TERM: 'xterm', ...options.env };
  return start('python3', command, { ...options, env });
}

function start(command: string, args: readonly string[], options: CliOptions): RunningCli {
  const child = spawn(command, args, {
    env: {
      PATH: process.env['PATH'],
      ...(options.gatewayUrl ? { PLX_GATEWAY_URL: options.gatewayUrl, PLX_API_KEY: API_KEY } : {}),
      // Never the network that a developer may have running.
      PLX_DATA_DIR: '/nonexistent',
      ...options.env,
    },
    ...(options.cwd ? { cwd: options.cwd } : {}),
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const seen = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (seen.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (seen.stderr += text));
  const closed = once(child, 'close');
  return {
    child,
    output: () => ({ ...seen }),
    async until(pattern) {
      const untilMs = Date.now() + UNTIL_MS_MAX;
      while (!pattern.test(seen.stdout + seen.stderr)) {
        if (Date.now() > untilMs || child.exitCode !== null)
          throw new Error(`${pattern} isn't in ${JSON.stringify(seen)}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    async ended() {
      const [code] = (await closed) as [number | null];
      return { code, ...seen };
    },
  };
}

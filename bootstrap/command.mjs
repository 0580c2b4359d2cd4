import { spawn } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { access, constants } from 'node:fs/promises';

const OUTPUT_MAX_CHARACTERS = 64_000;

/**
 * Runs a program and collects what it prints (both streams, the last 64,000 characters).
 *
 * @param {string} command
 * @param {string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, onSpawn?: (pid: number) => unknown,
 *   onOutput?: (text: string) => unknown, signal?: AbortSignal }} [options]
 *   `signal` kills it.
 * @returns {Promise<{ code: number | null, output: string, missing: boolean }>} `missing` when no
 *   such program could be started; `code` is null then, and when a signal ended it.
 */
export function runCommand(command, args, { cwd, env, onSpawn, onOutput, signal } = {}) {
  return new Promise((resolve) => {
    // npm and pip are .cmd files on Windows, which only a shell starts.
    const shell = process.platform === 'win32' && !command.endsWith('.exe');
    const stdio = ['ignore', 'pipe', 'pipe'];
    const child = spawn(command, args, {
      cwd,
      env: env ?? process.env,
      stdio,
      shell,
      signal,
      killSignal: 'SIGKILL',
    });
    let output = '';
    const collect = (text) => {
      output = (output + text).slice(-OUTPUT_MAX_CHARACTERS);
      onOutput?.(text);
    };
    child.stdout.setEncoding('utf8').on('data', collect);
    child.stderr.setEncoding('utf8').on('data', collect);
    child.on('error', (error) => {
      // One that `signal` kills still closes, and only then has nothing open any more.
      if (error.name !== 'AbortError')
        resolve({ code: null, output: error.message, missing: error.code === 'ENOENT' });
    });
    child.on('close', (code, signal) =>
      resolve({
        code,
        output: signal === null ? output : `${output}\n(ended by ${signal})`,
        missing: false,
      }),
    );
    if (child.pid !== undefined) onSpawn?.(child.pid);
  });
}

/** The last `lines` lines that aren't blank, indented to stand inside an error message. */
export function lastLines(output, lines = 6) {
  const kept = output.split('\n').filter((line) => line.trim() !== '');
  return kept
    .slice(-lines)
    .map((line) => `    ${line.trimEnd()}`)
    .join('\n');
}

/** The first executable file called `name` in `env.PATH`, or nothing. */
export async function findOnPath(name, env) {
  for (const folder of (env.PATH ?? '').split(delimiter).filter(Boolean)) {
    const candidate = join(folder, process.platform === 'win32' ? `${name}.exe` : name);
    try {
      await access(candidate, constants.X_OK);
      return candidate;
    } catch {
      // Not in this folder: the next one may have it.
    }
  }
  return undefined;
}

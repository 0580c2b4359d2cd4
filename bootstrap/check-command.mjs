import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { ensure } from './ensure.mjs';

const CHECKS = [
  ['types', 'tsc', '--noEmit', '-p', '.'],
  ['types of protocol/', 'tsc', '--noEmit', '-p', 'protocol'],
  ['lint', 'oxlint', '--type-aware', '--deny-warnings'],
  ['format', 'prettier', '--check', '--log-level', 'warn', '.'],
  ['unused code', 'knip'],
];

/** `npm run check`: every static check, also after one that failed. */
export async function main() {
  await ensure({ tools: false });
  return runChecks();
}

/** @returns {Promise<number>} 0 if all passed, else 1. */
export async function runChecks(checks = CHECKS) {
  const results = [];
  for (const [name, tool, ...args] of checks) {
    const startedAt = Date.now();
    const { code } = await runTool(tool, args);
    const seconds = ((Date.now() - startedAt) / 1_000).toFixed(1);
    results.push({ code, line: `${code === 0 ? '✓' : '✗'} ${name} ${seconds} s` });
  }
  console.log(results.map(({ line }) => line).join('\n'));
  return results.every(({ code }) => code === 0) ? 0 : 1;
}

/**
 * Runs a program of node_modules/.bin in the project's directory.
 *
 * @param {'inherit' | 'pipe'} [stdio] where its output goes: to this process's own terminal, or
 *   into what is returned.
 * @returns {Promise<{ code: number, output: string }>} its exit code; 1 if a signal ended it.
 */
export function runTool(tool, args, env = process.env, stdio = 'inherit') {
  const root = dirname(import.meta.dirname);
  const isWindows = process.platform === 'win32';
  const path = join(root, 'node_modules', '.bin', isWindows ? `${tool}.cmd` : tool);
  return new Promise((resolve, reject) => {
    const streams = stdio === 'pipe' ? ['ignore', 'pipe', 'pipe'] : 'inherit';
    const child = spawn(path, args, { cwd: root, env, stdio: streams, shell: isWindows });
    const output = [];
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (it) => output.push(it));
    child.on('error', reject);
    child.on('close', (code) =>
      resolve({ code: code ?? 1, output: Buffer.concat(output).toString() }),
    );
  });
}

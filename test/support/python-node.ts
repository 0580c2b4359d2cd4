import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { INSTANT_MODEL } from '../../bench/instant-backend.ts';
import { pythonEnvironment, pythonOf } from './python.ts';
import { until } from './until.ts';

const project = fileURLToPath(new URL('../../nodes/python/', import.meta.url));

/** All that it has to be told but the place of its keys; nothing listens where it points. */
export const PYTHON_NODE_ENV = {
  PLX_EDGE_ADDRESS: '127.0.0.1:1',
  PLX_OPERATOR_BINDING: '/nowhere',
  PLX_NODE_NAME: 'python',
  PLX_NODE_TIER: '1',
  PLX_MODEL_ID: INSTANT_MODEL.id,
  PLX_MODEL_DIGEST: INSTANT_MODEL.digest,
  PLX_OPENAI_URL: 'http://127.0.0.1:1/v1',
};

/** A node in Python, as a process. */
export interface PythonNode {
  /** What it has logged. */
  logged(): string;
  /** Sends SIGTERM. @returns its exit code. */
  stop(): Promise<number | null>;
}

/** Runs Python within its project. @returns what it printed, on both streams. */
export async function runPython(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(pythonOf('PLX_NODE_PYTHON'), [...args], {
    cwd: project,
    env: pythonEnvironment(env),
  });
  return stdout + stderr;
}

/** Starts one; it is ready when this returns, and registered. */
export async function startPythonNode(env: Readonly<Record<string, string>>): Promise<PythonNode> {
  const child = spawn(pythonOf('PLX_NODE_PYTHON'), ['-m', 'parallelix_node'], {
    cwd: project,
    env: pythonEnvironment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'close') as Promise<[number | null]>;
  let [announced, logged, exited] = ['', '', false];
  child.stdout.on('data', (data: Buffer) => (announced += data.toString()));
  child.stderr.on('data', (data: Buffer) => (logged += data.toString()));
  void ended.then(() => (exited = true));
  await until(() => exited || announced.includes('"ready": true'), 'the Python node is ready');
  if (exited) throw new Error(`the Python node ended: ${logged}`);
  return {
    logged: () => logged,
    async stop() {
      child.kill('SIGTERM');
      const [code] = await ended;
      return code;
    },
  };
}

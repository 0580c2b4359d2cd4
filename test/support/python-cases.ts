import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { dirname } from 'node:path';
import { pythonEnvironment, pythonOf } from './python.ts';

/** Cases of one Python process, which runs them one after the other. */
export interface PythonCases {
  /**
   * Waits until a case has passed.
   *
   * @throws Error with its traceback if it failed, or if Python ended without it.
   */
  passed(module: string, method: string): Promise<void>;
  stop(): Promise<void>;
}

/** @param file prints a line of JSON for each case: `module.Class.method`, and its failure. */
export function startPythonCases(file: string, env: Readonly<Record<string, string>>): PythonCases {
  const child = spawn(pythonOf('PLX_SDK_PYTHON'), [file], {
    cwd: dirname(file),
    env: pythonEnvironment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const failures = new Map<string, string | null>();
  const waiting = new Set<() => void>();
  const told = { errors: '', hasEnded: false };
  const wake = () => {
    for (const each of waiting) each();
  };
  child.stderr.on('data', (data: Buffer) => (told.errors += data.toString()));
  createInterface({ input: child.stdout }).on('line', (line) => {
    const one = JSON.parse(line) as { readonly case: string; readonly failure: string | null };
    const [module, , method] = one.case.split('.');
    failures.set(`${module}.${method}`, one.failure);
    wake();
  });
  const ended = once(child, 'close').then(() => {
    told.hasEnded = true;
    wake();
  });
  return {
    async passed(module, method) {
      const name = `${module}.${method}`;
      while (!failures.has(name) && !told.hasEnded) {
        await new Promise<void>((resolve) => {
          waiting.add(resolve);
        });
        waiting.clear();
      }
      const failure = failures.get(name);
      if (failure === undefined) throw new Error(`Python ended without ${name}: ${told.errors}`);
      if (failure !== null) throw new Error(failure);
    },
    async stop() {
      if (!told.hasEnded) child.kill('SIGTERM');
      await ended;
    },
  };
}

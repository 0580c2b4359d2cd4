/**
 * Tries to load the model file of the first argument, and prints what llama.cpp logged as JSON:
 * lines with the second argument `log`, otherwise none. A program of its own, because llama.cpp
 * writes past `process.stderr` and has one log for the process.
 */
import { BackendFailedError } from '../../../nodes/backends/backend.ts';
import { createLlamaBackend } from '../../../nodes/backends/llama.ts';

const [modelPath = '', mode] = process.argv.slice(2);
const lines: string[] = [];
const onLog =
  mode === 'log' ? (level: string, line: string) => lines.push(`${level}: ${line}`) : undefined;
const error: unknown = await createLlamaBackend({ modelPath, modelId: 'broken', slots: 1, onLog })
  .then((backend) => backend.close())
  .catch((error: unknown) => error);
if (!(error instanceof BackendFailedError)) throw new Error('The model was loaded.');
console.log(JSON.stringify(lines));

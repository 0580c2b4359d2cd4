import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { BackendFailedError } from './backend.ts';

/** SHA-256 of a model file, streamed. Throws `BackendFailedError` when it can't be read. */
export async function digestModelFile(modelPath: string): Promise<`sha256:${string}`> {
  try {
    if (!(await stat(modelPath)).isFile()) throw new Error('it is not a file');
    const hash = createHash('sha256');
    await pipeline(createReadStream(modelPath, { highWaterMark: 1024 * 1024 }), hash);
    return `sha256:${hash.digest('hex')}`;
  } catch (cause) {
    throw new BackendFailedError(
      `The model file ${modelPath} can't be read: ${String(cause)}. Download the model, or point ` +
        'MODEL_PATH at the GGUF file.',
      { cause },
    );
  }
}

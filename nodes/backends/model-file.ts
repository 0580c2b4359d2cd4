import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { BackendFailedError } from './backend.ts';

const READ_BYTES = 1024 * 1024;

const rememberedSchema = z.strictObject({
  /** Path, inode, size and times: the file's bytes can't have changed while these haven't. */
  file: z.string(),
  digest: z.templateLiteral(['sha256:', z.string().regex(/^[0-9a-f]{64}$/)]),
});

type Digest = `sha256:${string}`;

/**
 * SHA-256 of a model file, streamed. Throws `BackendFailedError` when it can't be read.
 *
 * @param rememberedIn a file of the caller's own, in which the digest is kept for its next start.
 *   It counts for as long as the model file is the same by inode, size and times, of which one is
 *   set by the system alone.
 */
export async function digestModelFile(modelPath: string, rememberedIn?: string): Promise<Digest> {
  try {
    const before = await identityOf(modelPath);
    const known = rememberedIn && (await remembered(rememberedIn, before));
    if (known) return known;
    const hash = createHash('sha256');
    await pipeline(createReadStream(modelPath, { highWaterMark: READ_BYTES }), hash);
    const digest: Digest = `sha256:${hash.digest('hex')}`;
    // A file that was written to meanwhile has no digest worth keeping.
    if (rememberedIn && (await identityOf(modelPath)) === before)
      await remember(rememberedIn, before, digest);
    return digest;
  } catch (cause) {
    throw new BackendFailedError(
      `The model file ${modelPath} can't be read: ${String(cause)}. Download the model, or point ` +
        'MODEL_PATH at the GGUF file.',
      { cause },
    );
  }
}

async function identityOf(path: string): Promise<string> {
  const file = await stat(path, { bigint: true });
  if (!file.isFile()) throw new Error('it is not a file');
  const { dev, ino, size, mtimeNs, ctimeNs } = file;
  return [resolve(path), dev, ino, size, mtimeNs, ctimeNs].join(' ');
}

/** Anything but a well-formed record of this very file is as good as none. */
async function remembered(path: string, file: string): Promise<Digest | undefined> {
  const text = await readFile(path, 'utf8').catch(() => '');
  const record = rememberedSchema.safeParse(jsonOrNothing(text));
  return record.data?.file === file ? record.data.digest : undefined;
}

/** Best effort: what can't be kept is computed again at the next start. */
async function remember(path: string, file: string, digest: Digest): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFile(temporary, JSON.stringify({ file, digest }), { mode: 0o600 });
    await rename(temporary, path);
  } catch {
    // A read-only disk, for one.
  }
}

function jsonOrNothing(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

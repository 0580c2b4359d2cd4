import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';

/** Bytes that were taken, and that nobody can read yet. */
export interface IncomingBlob {
  /** `sha256:` and 64 hex digits: what they really are. */
  readonly digest: string;
  readonly bytes: number;
  /** Puts them where their digest finds them, at once and whole. */
  keep(): Promise<void>;
  /** Forgets them, unless they were kept. */
  discard(): Promise<void>;
}

/** Where data is by its digest; all edges of a network share one. */
export interface BlobStore {
  /** Takes bytes as they come. What it threw on is forgotten. */
  take(chunks: AsyncIterable<Uint8Array>): Promise<IncomingBlob>;
  /** @returns null when there is none of that digest, or it is not of that size. */
  open(digest: string, bytes: number): Promise<Readable | null>;
  remove(digest: string): Promise<void>;
  /** Forgets what was being taken when a process died, and is older than that. */
  tidy(olderThanMs: number): Promise<void>;
}

/**
 * A store in a directory, which may be one that several machines have mounted: files are written
 * beside their place, synced and renamed, so that no reader ever sees half of one.
 */
export function directoryStore(directory: string): BlobStore {
  const arrivals = join(directory, 'incoming');
  const placeOf = (digest: string) => {
    const hex = /^sha256:([0-9a-f]{64})$/.exec(digest)?.[1];
    if (hex === undefined) throw new Error('A blob is named by its SHA-256.');
    return join(directory, hex.slice(0, 2), hex);
  };
  return {
    async take(chunks) {
      const file = join(arrivals, randomUUID());
      await mkdir(arrivals, { recursive: true, mode: 0o700 });
      try {
        const { digest, bytes } = await write(file, chunks);
        return {
          digest,
          bytes,
          async keep() {
            const place = placeOf(digest);
            await mkdir(dirname(place), { recursive: true, mode: 0o700 });
            await rename(file, place);
          },
          discard: () => rm(file, { force: true }),
        };
      } catch (error) {
        await rm(file, { force: true });
        throw error;
      }
    },
    async open(digest, bytes) {
      const place = placeOf(digest);
      const found = await stat(place).catch(ifMissing);
      return found?.size === bytes ? createReadStream(place) : null;
    },
    remove: (digest) => rm(placeOf(digest), { force: true }),
    async tidy(olderThanMs) {
      for (const name of (await readdir(arrivals).catch(ifMissing)) ?? []) {
        const file = join(arrivals, name);
        const found = await stat(file).catch(ifMissing);
        if (found && found.mtimeMs < Date.now() - olderThanMs) await rm(file, { force: true });
      }
    },
  };
}

async function write(file: string, chunks: AsyncIterable<Uint8Array>) {
  const hash = createHash('sha256');
  let bytes = 0;
  const handle = await open(file, 'wx', 0o600);
  try {
    for await (const chunk of chunks) {
      hash.update(chunk);
      bytes += chunk.length;
      await handle.writeFile(chunk);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  return { digest: `sha256:${hash.digest('hex')}`, bytes };
}

function ifMissing(error: unknown): undefined {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
  throw error;
}

import { connect } from 'node:net';

/** What came back on a connection before it ended. */
export interface RawAnswer {
  readonly status: number | null;
  readonly text: string;
  /** The error object of the last answer, if there is one. */
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly elapsedMs: number;
}

/**
 * Writes bytes as they are to a server, and reads until it ends the connection.
 *
 * @param url of the server; its path doesn't matter.
 * @param parts written one after the other, with a pause before each but the first.
 * @param pauseMs between two of them.
 */
export async function rawHttp(
  url: string,
  parts: Iterable<string | Uint8Array>,
  pauseMs = 0,
): Promise<RawAnswer> {
  const startedAt = performance.now();
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  const chunks: Buffer[] = [];
  const closed = new Promise<void>((resolve) => {
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('close', () => resolve());
    // Ended by the other side in the middle: that is what is looked for.
    socket.on('error', () => socket.destroy());
  });
  for (const part of parts) {
    if (socket.destroyed || socket.readableEnded) break;
    if (!socket.write(part)) await Promise.race([drained(socket), closed]);
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  await closed;
  const text = Buffer.concat(chunks).toString();
  const statuses = [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
  return {
    status: statuses.at(-1) ?? null,
    text,
    error: errorIn(text),
    elapsedMs: performance.now() - startedAt,
  };
}

function drained(socket: ReturnType<typeof connect>): Promise<void> {
  return new Promise((resolve) => {
    socket.once('drain', resolve);
  });
}

function errorIn(text: string): RawAnswer['error'] {
  const body = /\r\n\r\n(\{"error".*\})/s.exec(text)?.[1];
  if (body === undefined) return null;
  return (JSON.parse(body) as { error: NonNullable<RawAnswer['error']> }).error;
}

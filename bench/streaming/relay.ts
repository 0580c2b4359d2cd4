import { createHash, timingSafeEqual } from 'node:crypto';
import { Agent, createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import type { ServerResponse } from 'node:http';
import { pipeline } from 'node:stream';
import { z } from 'zod';
import { readConfig } from '../../workers/config.ts';
import { runRole, type RunningRole } from '../../workers/role.ts';

const relayEnv = z.object({
  BENCH_PORT: z.coerce.number(),
  BENCH_BACKEND_PORT: z.coerce.number(),
  /** SHA-256 of the one API key that it lets in, in hex. */
  BENCH_KEY_HASH: z.string(),
});

/**
 * The least that may stand before a backend: it looks at a key and passes bytes on. It meters
 * nothing, seals nothing, and keeps nothing.
 */
async function startRelay(): Promise<RunningRole> {
  const config = readConfig('bench relay', relayEnv);
  const known = Buffer.from(config.BENCH_KEY_HASH, 'hex');
  const agent = new Agent({ keepAlive: true });

  function isKnown({ headers }: IncomingMessage): boolean {
    const key = headers.authorization?.replace(/^Bearer /, '') ?? '';
    return timingSafeEqual(createHash('sha256').update(key).digest(), known);
  }

  function relay(request: IncomingMessage, response: ServerResponse): void {
    if (!isKnown(request)) return void response.writeHead(401).end();
    const { method, url, headers } = request;
    const upstream = httpRequest({
      host: '127.0.0.1',
      port: config.BENCH_BACKEND_PORT,
      agent,
      method,
      path: url,
      headers: {
        'content-type': headers['content-type'],
        'content-length': headers['content-length'],
      },
    });
    upstream.on('response', (answer) => {
      response.writeHead(answer.statusCode ?? 502, {
        'content-type': answer.headers['content-type'],
      });
      pipeline(answer, response, () => undefined);
    });
    upstream.on('error', () => response.destroy());
    response.on('close', () => upstream.destroy());
    request.pipe(upstream);
  }

  const server = createServer(relay);
  await new Promise<void>((resolve) => void server.listen(config.BENCH_PORT, '127.0.0.1', resolve));
  return {
    ready: {},
    stop: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      agent.destroy();
      await closed;
    },
  };
}

await runRole(startRelay);

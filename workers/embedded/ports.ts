import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** A killed server's last thread may hold its port for a moment after the process has gone. */
const ATTEMPTS = 10;
const ATTEMPT_EVERY_MS = 50;

/**
 * Checks that a server may listen on 127.0.0.1.
 *
 * @param name what wants the port, for people.
 * @param envVar the variable that chooses another one.
 * @throws Error that says what to do.
 */
export async function assertPortFree(port: number, name: string, envVar: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const error = await listenError(port);
    if (error === undefined) return;
    const { code } = error;
    if (code === 'EADDRINUSE' && attempt < ATTEMPTS) {
      await sleep(ATTEMPT_EVERY_MS);
      continue;
    }
    if (code === 'EADDRINUSE')
      throw new Error(`Port ${port} (${name}) is in use. Stop what uses it or set ${envVar}.`, {
        cause: error,
      });
    throw new Error(`Port ${port} (${name}) can't be used (${code}). Set ${envVar} to another.`, {
      cause: error,
    });
  }
}

/** @param isPatient waits half a second for one that is about to be freed. */
export async function isPortFree(port: number, isPatient: boolean): Promise<boolean> {
  for (let attempt = 1; ; attempt++) {
    if ((await listenError(port)) === undefined) return true;
    if (!isPatient || attempt === ATTEMPTS) return false;
    await sleep(ATTEMPT_EVERY_MS);
  }
}

async function listenError(port: number): Promise<NodeJS.ErrnoException | undefined> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  } catch (error) {
    return error as NodeJS.ErrnoException;
  }
  server.close();
  await once(server, 'close');
  return undefined;
}

/** Above registered services in use, below what systems give to outgoing connections. */
const FREE_PORTS = { from: 15_000, to: 32_000 } as const;

/**
 * Ports on 127.0.0.1 that are free now, all different. They are no port that the system could give
 * to an outgoing connection before a server listens on it, as one asked for with 0 is.
 */
export async function freePorts(count: number): Promise<number[]> {
  const found = new Set<number>();
  while (found.size < count) {
    const port = randomInt(FREE_PORTS.from, FREE_PORTS.to);
    if (await isPortFree(port, false)) found.add(port);
  }
  return [...found];
}

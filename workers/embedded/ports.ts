import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * Checks that a server may listen on 127.0.0.1.
 *
 * @param name what wants the port, for people.
 * @param envVar the variable that chooses another one.
 * @throws Error that says what to do.
 */
export async function assertPortFree(port: number, name: string, envVar: string): Promise<void> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE')
      throw new Error(`Port ${port} (${name}) is in use. Stop what uses it or set ${envVar}.`, {
        cause: error,
      });
    throw new Error(`Port ${port} (${name}) can't be used (${code}). Set ${envVar} to another.`, {
      cause: error,
    });
  } finally {
    if (server.listening) {
      server.close();
      await once(server, 'close');
    }
  }
}

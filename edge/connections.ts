import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Until a request's headers have to be there, from the beginning of its connection. */
const HEADERS_MS_MAX = 10_000;
/** Between two requests on a connection. Nodes send a heartbeat every two seconds. */
const IDLE_MS_MAX = 30_000;
/** How long the rest of a body is poured away after its refusal, so that the refusal is heard. */
const REST_MS_MAX = 2_000;

/**
 * Ends connections that don't bring a request in time. Node does that for connections that the
 * server has accepted itself; these were accepted elsewhere.
 *
 * @param onSlow told of each whose headers did not come.
 * @returns ends all that are open.
 */
export function guardConnections(
  server: Server,
  onSlow: (socket: Socket) => void,
  headersMsMax = HEADERS_MS_MAX,
): () => void {
  const open = new Map<Socket, NodeJS.Timeout>();
  const active = new WeakMap<Socket, number>();
  const waitFor = (socket: Socket, msMax: number, late: () => void) => {
    clearTimeout(open.get(socket));
    open.set(socket, setTimeout(late, msMax).unref());
  };
  server.on('connection', (socket: Socket) => {
    waitFor(socket, headersMsMax, () => {
      onSlow(socket);
      socket.destroy();
    });
    socket.once('close', () => {
      clearTimeout(open.get(socket));
      open.delete(socket);
    });
  });
  server.on('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    clearTimeout(open.get(socket));
    active.set(socket, (active.get(socket) ?? 0) + 1);
    response.once('close', () => {
      const left = (active.get(socket) ?? 1) - 1;
      active.set(socket, left);
      if (socket.destroyed || left > 0) return;
      waitFor(socket, IDLE_MS_MAX + headersMsMax, () => socket.destroy());
    });
  });
  return () => {
    for (const socket of open.keys()) socket.destroy();
  };
}

/** Pours away what still comes of a request that was answered, and ends what doesn't end soon. */
export function discardRest(request: IncomingMessage): void {
  if (request.complete || request.destroyed) return;
  request.resume();
  const timer = setTimeout(() => request.socket.destroy(), REST_MS_MAX).unref();
  request.once('close', () => clearTimeout(timer));
}

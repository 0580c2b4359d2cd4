import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';

/** One side of a handshake, all in PEM; a client may have no certificate. */
export interface TlsSide {
  readonly key?: string;
  readonly cert?: string;
  /** Which CAs it trusts. */
  readonly ca: string;
}

/** What each side thinks of the other: 'ok', or the code by which its certificate is refused. */
export interface TlsOpinions {
  readonly ofClient: string;
  readonly ofServer: string;
}

/** A real TLS 1.3 handshake over TCP, as an edge and a node have it. */
export async function handshake(server: TlsSide, client: TlsSide): Promise<TlsOpinions> {
  const listener = createServer({
    ...server,
    minVersion: 'TLSv1.3',
    requestCert: true,
    rejectUnauthorized: false,
  });
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  const { port } = listener.address() as AddressInfo;
  const accepted = once(listener, 'secureConnection') as Promise<[TLSSocket]>;
  const socket = connect({ host: '127.0.0.1', port, ...client, rejectUnauthorized: false });
  try {
    const [[peer]] = await Promise.all([accepted, once(socket, 'secureConnect')]);
    return { ofClient: opinion(peer), ofServer: opinion(socket) };
  } finally {
    socket.destroy();
    listener.close();
  }
}

/** Node's types say Error; it is the code alone. */
function opinion(socket: TLSSocket): string {
  if (socket.authorized) return 'ok';
  const { authorizationError: error } = socket;
  return error instanceof Error ? error.message : String(error);
}

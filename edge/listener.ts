import { constants } from 'node:crypto';
import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { addressKey, KeyedBuckets } from '../protocol/buckets.ts';
import { identify, wasIssuedBy, type Peer } from './identity.ts';
import { KeyedCounts, type EdgeLimits } from './limits.ts';
import type { Refusals } from './refusals.ts';

/** The edge's own certificate, and the CA of the nodes: all in PEM. */
export interface TlsMaterial {
  readonly key: string;
  readonly cert: string;
  /** One certificate, or several. */
  readonly ca: string;
}

/** Where the certificate comes from; it is renewed while the edge runs. */
export interface TlsSource {
  current(): TlsMaterial;
  onRenewed(listener: () => void): void;
}

export interface ListenerOptions {
  readonly host: string;
  /** 0 for any that is free. */
  readonly port: number;
  readonly tls: TlsSource;
  readonly limits: EdgeLimits;
  readonly refusals: Refusals;
  /** Takes a connection that speaks HTTP/2: that of a node. */
  readonly onGrpc: (socket: TLSSocket, peer: Peer, address: string) => void;
  /** Takes one that speaks HTTP/1.1: that of a node, or of one without a certificate. */
  readonly onHttp: (socket: TLSSocket) => void;
}

export interface Listener {
  readonly host: string;
  readonly port: number;
  /** Takes no new connections; those that are open stay. */
  close(): void;
  /** Ends what is still open. */
  destroy(): void;
}

/** The longest delay that a timer takes. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/**
 * Listens on the one port that nodes know. Who asks for too much is turned away before TLS begins;
 * what follows the handshake is decided by its certificate and by ALPN.
 */
export async function listen(options: ListenerOptions): Promise<Listener> {
  const { limits, refusals, tls } = options;
  const handshakes = new KeyedBuckets(limits.handshakesPerSecond, limits.handshakesBurst);
  const connections = new KeyedCounts(limits.connectionsPerAddress);
  const open = new Set<Socket>();
  const nodes = new Set<TLSSocket>();
  // Without tickets, each connection's certificate is looked at anew.
  const context = () =>
    ({
      ...tls.current(),
      minVersion: 'TLSv1.3',
      secureOptions: constants.SSL_OP_NO_TICKET,
    }) as const;
  const tlsServer = createTlsServer(
    {
      ...context(),
      ALPNProtocols: ['h2', 'http/1.1'],
      requestCert: true,
      rejectUnauthorized: false,
      handshakeTimeout: limits.handshakeMs,
    },
    (socket) => accept(socket, options, nodes),
  );
  tlsServer.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    const address = addressOf(socket);
    const isSlow = error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT';
    const code = isSlow ? 'edge.too_slow' : 'edge.unauthenticated';
    refusals.refused(code, { address, detail: error.code ?? error.message });
    socket.destroy();
  });
  tls.onRenewed(() => tlsServer.setSecureContext(context()));
  onOtherCas(tls, (ca) => endUntrusted(nodes, ca, refusals));

  const server = createTcpServer({ noDelay: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    const address = socket.remoteAddress;
    if (address === undefined) return void socket.destroy();
    const key = addressKey(address);
    const refuse = (detail: string) => {
      refusals.refused('edge.too_many', { address: key, detail });
      socket.resetAndDestroy();
    };
    if (!handshakes.take(key, performance.now())) return refuse('handshakes');
    if (open.size >= limits.connections) return refuse('connections in all');
    if (!connections.acquire(key)) return refuse('connections');
    open.add(socket);
    socket.once('close', () => {
      open.delete(socket);
      connections.release(key);
    });
    tlsServer.emit('connection', socket);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(options.port, options.host, resolve);
  });
  const { address: host, port } = server.address() as AddressInfo;
  return {
    host,
    port,
    close: () => void server.close(),
    destroy() {
      for (const socket of open) socket.destroy();
    },
  };
}

function accept(
  socket: TLSSocket,
  { refusals, onGrpc, onHttp }: ListenerOptions,
  nodes: Set<TLSSocket>,
): void {
  socket.on('error', () => socket.destroy());
  const identity = identify(socket);
  const address = addressOf(socket);
  const refuse = (detail: string) => {
    refusals.refused('edge.unauthenticated', { address, detail });
    socket.destroy();
  };
  if (identity.kind === 'invalid') return refuse(identity.reason);
  if (identity.kind === 'node') {
    closeAt(socket, identity.peer.notAfterMs);
    nodes.add(socket);
    socket.once('close', () => nodes.delete(socket));
  }
  if (socket.alpnProtocol !== 'h2') return onHttp(socket);
  if (identity.kind === 'anonymous') return refuse('no certificate');
  onGrpc(socket, identity.peer, address);
}

/** Also of a connection that was reset: the TCP socket below keeps what was asked when it came. */
function addressOf(socket: TLSSocket): string {
  const { remoteAddress, _parent } = socket as TLSSocket & { readonly _parent?: Socket };
  return remoteAddress ?? _parent?.remoteAddress ?? 'unknown';
}

function onOtherCas(tls: TlsSource, listener: (ca: string) => void): void {
  let { ca } = tls.current();
  tls.onRenewed(() => {
    if (tls.current().ca === ca) return;
    ({ ca } = tls.current());
    listener(ca);
  });
}

/** A CA that was dropped may have been stolen: what it let in before is no better. */
function endUntrusted(nodes: Iterable<TLSSocket>, ca: string, refusals: Refusals): void {
  for (const socket of nodes) {
    if (wasIssuedBy(socket, ca)) continue;
    const address = addressOf(socket);
    refusals.refused('edge.unauthenticated', { address, detail: 'its CA was dropped' });
    socket.destroy();
  }
}

/** A certificate that has expired is none. */
function closeAt(socket: TLSSocket, atMs: number): void {
  let timer: NodeJS.Timeout | undefined;
  const wait = () => {
    const leftMs = atMs - Date.now();
    if (leftMs > 0) timer = setTimeout(wait, Math.min(leftMs, TIMER_MS_MAX)).unref();
    else socket.destroy();
  };
  wait();
  socket.once('close', () => clearTimeout(timer));
}

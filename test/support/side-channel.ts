import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type TLSSocket } from 'node:tls';
import pino from 'pino';
import { checkCertificateRequest } from '../../crypto/certificate-requests.ts';
import { certifiedNodeId } from '../../crypto/certificates.ts';
import type { NodeKeys } from '../../crypto/keys.ts';
import { directoryStore } from '../../edge/blob-store.ts';
import { CoordinatorClient } from '../../edge/coordinator-client.ts';
import { createNodeApi, type NodeApiDependencies } from '../../edge/node-api.ts';
import type { RefusedBy } from '../../edge/refusals.ts';
import { Channel, type TlsMaterial } from '../../nodes/channel.ts';
import type { Database } from '../../prisma/client.ts';
import type { ErrorCode } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import { testNetworkCa } from './certificates.ts';

/** The HTTP side of an edge, over mutual TLS, in this process. */
export interface SideChannel {
  /** `host:port`. */
  readonly address: string;
  /** PEM of the network's CA. */
  readonly ca: string;
  readonly blobDirectory: string;
  /** What it refused, and to whom. */
  readonly refusals: ({ readonly code: ErrorCode } & RefusedBy)[];
  /** A node's way to it. */
  channel(keys: NodeKeys): Promise<Channel>;
  tls(keys: NodeKeys): Promise<Required<TlsMaterial>>;
  remove(nodeId: NodeId): void;
  close(): Promise<void>;
}

export interface SideChannelOptions {
  readonly coordinatorUrl: string;
  readonly edgeToken: string;
  readonly database: Database;
  /** What is to be other than usual. */
  readonly changed?: Partial<NodeApiDependencies>;
}

export async function startSideChannel(options: SideChannelOptions): Promise<SideChannel> {
  const network = await testNetworkCa();
  const blobDirectory = await mkdtemp(join(tmpdir(), 'plx-blobs-'));
  const refusals: ({ readonly code: ErrorCode } & RefusedBy)[] = [];
  const removed = new Set<NodeId>();
  const listeners: ((nodeId: NodeId) => void)[] = [];
  const log = pino({ level: 'silent' });
  const coordinator = new CoordinatorClient(options.coordinatorUrl, options.edgeToken, log);
  const api = createNodeApi({
    database: options.database,
    coordinator,
    log,
    blobs: directoryStore(blobDirectory),
    peerOf,
    nodeOfRequest: (csr) => checkCertificateRequest(csr).nodeId,
    allow: () => true,
    allowAddress: () => true,
    isRemoved: (nodeId) => removed.has(nodeId),
    onRemoved: (listener) => void listeners.push(listener),
    refused: (code, by) => void refusals.push({ code, ...by }),
    ...options.changed,
  });
  await api.ready();
  const server = createServer(
    {
      ...(await network.server()),
      minVersion: 'TLSv1.3',
      ALPNProtocols: ['http/1.1'],
      requestCert: true,
      rejectUnauthorized: false,
    },
    (socket) => {
      socket.on('error', () => socket.destroy());
      if (socket.getPeerX509Certificate() && !socket.authorized) socket.destroy();
      else api.server.emit('connection', socket);
    },
  );
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const channels: Channel[] = [];
  return {
    address,
    ca: network.ca,
    blobDirectory,
    refusals,
    tls: (keys) => network.node(keys),
    async channel(keys) {
      const tls = await network.node(keys);
      const channel = new Channel({ address, tls: () => tls }, keys);
      channels.push(channel);
      return channel;
    },
    remove(nodeId) {
      removed.add(nodeId);
      for (const listener of listeners) listener(nodeId);
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      await api.close();
      await closed;
      await Promise.all(channels.map((channel) => channel.close()));
      await coordinator.close();
      await rm(blobDirectory, { recursive: true, force: true });
    },
  };
}

function peerOf(socket: TLSSocket): { readonly nodeId: NodeId } | null {
  const certificate = socket.getPeerX509Certificate();
  const nodeId = certificate && certifiedNodeId(certificate);
  return nodeId ? { nodeId } : null;
}

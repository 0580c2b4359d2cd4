import { X509Certificate } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { Registry } from 'prom-client';
import { expiryMs } from '../crypto/certificates.ts';
import type { Ring, WrapKey } from '../crypto/keys.ts';
import type { Database } from '../prisma/client.ts';
import type { NodeId } from '../protocol/ids.ts';
import { GrpcServer } from './grpc-server.ts';
import { peerOf, type Peer } from './identity.ts';
import { EDGE_LIMITS, type EdgeLimits } from './limits.ts';
import { listen, type TlsSource } from './listener.ts';
import { LostNodes } from './lost-nodes.ts';
import { edgeMethods } from './methods.ts';
import { registerGauges } from './metrics.ts';
import { Polls } from './poll.ts';
import { watchPool, type Pool } from './pool.ts';
import { countRefusals, type Refusals } from './refusals.ts';
import { respondHandlers } from './respond.ts';
import { Tasks } from './tasks.ts';
import { connectUpstream } from './upstream.ts';

export interface EdgeOptions {
  readonly host: string;
  /** 0 for any that is free. */
  readonly port: number;
  readonly temporalAddress: string;
  readonly namespace: string;
  readonly database: Database;
  /** Seals task tokens; the same for all edges. */
  readonly ring: Ring<WrapKey>;
  readonly tls: TlsSource;
  /** Serves what isn't gRPC, with the parts of the edge that it needs. */
  readonly createNodeApi: (parts: EdgeParts) => FastifyInstance;
  /** What differs from `EDGE_LIMITS`. */
  readonly limits?: Partial<EdgeLimits>;
}

/** What both sides of the edge use. */
export interface EdgeParts {
  readonly pool: Pool;
  readonly refusals: Refusals;
  readonly metrics: Registry;
}

export interface Edge {
  /** HOST:PORT */
  readonly address: string;
  readonly port: number;
  readonly metrics: Registry;
  /** Ends polls, takes answers to tasks for a while, and stops. */
  stop(): Promise<void>;
}

/** How long answers to tasks are still taken by an edge that stops. */
const DRAIN_MS_MAX = 10_000;
const DRAIN_LOOK_MS = 50;

/** Opens an edge: the one place that nodes know. Several may run side by side. */
export async function openEdge(options: EdgeOptions, log: Logger): Promise<Edge> {
  const limits = { ...EDGE_LIMITS, ...options.limits };
  const metrics = new Registry();
  const refusals = countRefusals(log, metrics);
  const core = grpcCore(options, limits, refusals, log);
  const { pool, grpc, polls, tasks } = core;
  registerGauges(metrics, {
    connections: () => grpc.sessions,
    polls: () => polls.size,
    inFlight: () => tasks.inFlight.count(Date.now()),
    certificateExpiresSeconds: () =>
      expiryMs(new X509Certificate(options.tls.current().cert)) / 1_000,
  });
  const app = options.createNodeApi({ pool, refusals, metrics });
  await app.ready();
  const { host, port, tls } = options;
  const listener = await listen({
    host,
    port,
    tls,
    limits,
    refusals,
    onGrpc(socket, peer, address) {
      watchWhileOpen(pool, socket, peer);
      grpc.accept(socket, peer, address);
    },
    onHttp(socket) {
      const peer = peerOf(socket);
      if (peer) watchWhileOpen(pool, socket, peer);
      app.server.emit('connection', socket);
    },
  });
  return {
    address: `${listener.host}:${listener.port}`,
    port: listener.port,
    metrics,
    async stop() {
      listener.close();
      polls.drain();
      const untilMs = Date.now() + DRAIN_MS_MAX;
      while (tasks.inFlight.count(Date.now()) > 0 && Date.now() < untilMs)
        await sleep(DRAIN_LOOK_MS);
      // What isn't answered yet may be by another edge.
      core.lostNodes.stop();
      grpc.close();
      await app.close();
      grpc.destroy();
      listener.destroy();
      pool.stop();
      core.upstream.close();
    },
  };
}

/** What stands between Temporal and the gRPC connections of nodes. */
function grpcCore(
  { database, namespace, temporalAddress, ring }: EdgeOptions,
  limits: EdgeLimits,
  refusals: Refusals,
  log: Logger,
) {
  const upstream = connectUpstream(temporalAddress, namespace);
  const tasks = new Tasks({ upstream, namespace, ring, log });
  const pool = watchPool(database, log, () => tasks.inFlight.nodes(Date.now()));
  const shared = { upstream, namespace, tasks, pool };
  const polls = new Polls({ ...shared, limits });
  const isConnected = (nodeId: NodeId) => grpc.isConnected(nodeId);
  const lostNodes = new LostNodes({ tasks, pool, isConnected, log });
  const grpc: GrpcServer = new GrpcServer({
    handlers: edgeMethods(pool, polls, respondHandlers(shared)),
    limits,
    refusals,
    log,
    onGone: (nodeId) => lostNodes.gone(nodeId),
  });
  pool.onRemoved((nodeId) => {
    polls.endOf(nodeId);
    void tasks.failAll(nodeId);
  });
  return { upstream, tasks, pool, polls, lostNodes, grpc };
}

function watchWhileOpen(pool: Pool, socket: TLSSocket, { nodeId }: Peer): void {
  pool.watch(nodeId);
  socket.once('close', () => pool.unwatch(nodeId));
}
